// lib/fetch-token.ts: a new token for the API from our own route, or null when nobody is signed in.
export async function fetchToken(): Promise<string | null> {
  const answer = await fetch("/api/token");
  if (answer.ok) return (await answer.json()).token;
  if (answer.status === 401) return null;
  throw new Error("Signing in does not answer. Try again in a moment.");
}
