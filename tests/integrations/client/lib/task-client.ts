// lib/task-client.ts: configures the generated client: base URL, token, error class.
import { ApiError } from "./api-error";
import { apiUrl } from "./api-url";
import { client } from "./client/client.gen";
import { currentToken, withToken } from "./token";

export * from "./client";

client.setConfig({
  baseUrl: apiUrl(),
  fetch: (request) =>
    withToken(({ text }) => {
      const signed = (request as Request).clone(); // keep the original for a retry
      signed.headers.set("authorization", `Bearer ${text}`);
      return fetch(signed);
    }),
});

// Without a response (network failure, no token) the error stays as it is.
client.interceptors.error.use((error, response) => (response ? new ApiError(response.status, error, response.headers) : error));

/** The `user_id` for paths. */
export async function me(): Promise<string> {
  return (await currentToken()).userId;
}
