// lib/fetch-token.ts: a new token for the API, or null when nobody is signed in.
import { authClient } from "./auth-client";

export async function fetchToken(): Promise<string | null> {
  const { data, error } = await authClient.token();
  if (data) return data.token;
  if (error.status === 401) return null;
  throw new Error("Signing in does not answer. Try again in a moment.");
}
