// lib/fetch-token.ts: gets a new token for the API, or null if nobody is signed in.
import { authClient } from "./auth-client";

export async function fetchToken(): Promise<string | null> {
  const { data, error } = await authClient.token();
  if (data) return data.token;
  if (error.status === 401) return null;
  throw new Error("Could not get a token. Try again.");
}
