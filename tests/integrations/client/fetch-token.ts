// Stands where lib/fetch-token.ts stands in a frontend: gives the tokens that the test made, one after the other.
const tokens = (process.env.TOKENS ?? "").split(" ").filter(Boolean);
export let fetched = 0;

export async function fetchToken(): Promise<string | null> {
  fetched += 1;
  return tokens.shift() ?? null;
}
