// lib/fetch-token.ts: gets a new token for the API from app/api/token, or null if nobody is signed in.
export async function fetchToken(): Promise<string | null> {
  const response = await fetch("/api/token");
  if (response.ok) return (await response.json()).token;
  if (response.status === 401) return null;
  throw new Error("Could not get a token. Try again.");
}
