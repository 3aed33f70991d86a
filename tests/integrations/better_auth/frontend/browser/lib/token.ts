// lib/token.ts: the token of whoever is signed in. It stays in memory, never in localStorage.
import { ApiError } from "./api-error";
import { fetchToken } from "./fetch-token";

export type Token = { text: string; userId: string; refreshAt: number };
let token: Token | null = null;
let owner: string | null = null;
let refresh: Promise<Token> | null = null;

function readToken(text: string): Token {
  const payload = (text.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
  const { sub, iat, exp } = JSON.parse(atob(payload));
  // Only the difference counts: a wrong clock on this device does no harm.
  const life = (exp - iat) * 1000;
  return { text, userId: sub, refreshAt: Date.now() + Math.max(life - 30_000, life / 2) };
}

export function currentToken(): Promise<Token> {
  if (token && Date.now() < token.refreshAt) return Promise.resolve(token);
  if (refresh) return refresh; // however many calls wait, one refresh is under way
  const mine: Promise<Token> = fetchToken()
    .then((text) => {
      if (!text) throw new ApiError(401, { detail: "Sign in again." });
      const fresh = readToken(text);
      // Another tab may have signed in as somebody else: what one began must not land with the other.
      if (owner && owner !== fresh.userId) throw new ApiError(401, { detail: "Another user signed in. Reload the page." });
      if (refresh === mine) [token, owner] = [fresh, fresh.userId]; // not after forgetToken()
      return fresh;
    })
    .finally(() => {
      if (refresh === mine) refresh = null;
    });
  refresh = mine;
  return mine;
}

/** Call it at sign-out and whenever somebody else signs in. */
export function forgetToken(): void {
  token = owner = refresh = null;
}

/** What the API answers to `send`. After a 401 there is one new token and exactly one more try. */
export async function withToken(send: (by: Token) => Promise<Response>): Promise<Response> {
  const used = await currentToken();
  const answer = await send(used);
  if (answer.status !== 401) return answer; // a 403 too: a new token would say the same
  if (token === used) token = null;
  return send(await currentToken());
}
