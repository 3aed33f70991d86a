// lib/token.ts: the token of the signed-in user, kept in memory and never in localStorage.
import { ApiError } from "./api-error";
import { fetchToken } from "./fetch-token";

export type Token = { text: string; userId: string; refreshAt: number };
let token: Token | null = null;
let owner: string | null = null;
let refresh: Promise<Token> | null = null;

function readToken(text: string): Token {
  const payload = (text.split(".")[1] ?? "").replace(/-/g, "+").replace(/_/g, "/");
  const { sub, iat, exp } = JSON.parse(atob(payload));
  // Uses the lifetime only, so that a wrong clock on this device does not matter.
  const life = (exp - iat) * 1000;
  return { text, userId: sub, refreshAt: Date.now() + Math.max(life - 30_000, life / 2) };
}

export function currentToken(): Promise<Token> {
  if (token && Date.now() < token.refreshAt) return Promise.resolve(token);
  if (refresh) return refresh; // concurrent callers share one refresh
  const pending: Promise<Token> = fetchToken()
    .then((text) => {
      if (!text) throw new ApiError(401, { detail: "Sign in again." });
      const fresh = readToken(text);
      // Another tab may have signed in as another user, who must not get this user's changes.
      if (owner && owner !== fresh.userId) throw new ApiError(401, { detail: "Another user signed in. Reload the page." });
      if (refresh === pending) [token, owner] = [fresh, fresh.userId]; // unless forgetToken() was called meanwhile
      return fresh;
    })
    .finally(() => {
      if (refresh === pending) refresh = null;
    });
  refresh = pending;
  return pending;
}

/** Call this on sign-out and after every sign-in. With the id of a user, tokens of other users are then refused. */
export function forgetToken(userId: string | null = null): void {
  token = refresh = null;
  owner = userId;
}

/** Calls `send` with a token. After a 401, gets a new token and retries once. */
export async function withToken(send: (token: Token) => Promise<Response>): Promise<Response> {
  const used = await currentToken();
  const response = await send(used);
  if (response.status !== 401) return response; // a new token would not change a 403
  if (token === used) token = null;
  return send(await currentToken());
}
