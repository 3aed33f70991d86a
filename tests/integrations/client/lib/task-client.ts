// lib/task-client.ts: tells the generated client where the API is and who asks, and gives its errors a class.
import { ApiError } from "./api-error";
import { client } from "./client/client.gen";
import { currentToken, withToken } from "./token";

export * from "./client";

client.setConfig({
  baseUrl: process.env.NEXT_PUBLIC_API_URL, // e.g. https://api.example.com, without a slash at the end
  fetch: (request) =>
    withToken(({ text }) => {
      const signed = (request as Request).clone(); // the first may have to be sent again
      signed.headers.set("authorization", `Bearer ${text}`);
      return fetch(signed);
    }),
});

// Without an answer there is no status: a TypeError of fetch, or what withToken threw, stays as it is.
client.interceptors.error.use((error, answer) => (answer ? new ApiError(answer.status, error, answer.headers) : error));

/** For `user_id` in paths. */
export async function me(): Promise<string> {
  return (await currentToken()).userId;
}
