// Replaces lib/fetch-token.ts of a frontend: returns the tokens of the test one after the other.
const tokens = (process.env.TOKENS ?? "").split(" ").filter(Boolean);
export let fetched = 0;

export async function fetchToken(): Promise<string | null> {
  fetched += 1;
  return tokens.shift() ?? null;
}
