// lib/tasks.ts: the task API from the browser. The token stays in memory, never in localStorage.
import { fetchToken } from "./fetch-token";

const API = process.env.NEXT_PUBLIC_API_URL; // e.g. https://api.example.com, without a slash at the end

export type Task = {
  id: number;
  user_id: string;
  title: string;
  description: string | null;
  completed: boolean;
  created_at: string;
  updated_at: string;
};
export type NewTask = { title: string; description?: string | null; completed?: boolean };

export class ApiError extends Error {
  status: number;
  retryAfter: number | null; // seconds

  constructor(status: number, detail: string, retryAfter: number | null = null) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

type Token = { text: string; userId: string; refreshAt: number };
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

function currentToken(): Promise<Token> {
  if (token && Date.now() < token.refreshAt) return Promise.resolve(token);
  if (refresh) return refresh; // however many calls wait, one refresh is under way
  const mine: Promise<Token> = fetchToken()
    .then((text) => {
      if (!text) throw new ApiError(401, "Sign in again.");
      const fresh = readToken(text);
      // Another tab may have signed in as somebody else: what one began must not land with the other.
      if (owner && owner !== fresh.userId) throw new ApiError(401, "Another user signed in. Reload the page.");
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

async function call(method: string, path: string, body?: unknown, more?: Record<string, string>): Promise<Response> {
  const send = (by: Token) =>
    fetch(`${API}/api/${encodeURIComponent(by.userId)}/tasks${path}`, {
      method,
      headers: {
        authorization: `Bearer ${by.text}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...more,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  const used = await currentToken();
  let answer = await send(used);
  if (answer.status === 401) {
    // Expired, or its key is gone: one new token and exactly one more try. A 403 is never tried again.
    if (token === used) token = null;
    answer = await send(await currentToken());
  }
  if (answer.ok) return answer;
  const { detail = answer.statusText } = await answer.json().catch(() => ({}));
  throw new ApiError(answer.status, detail, Number(answer.headers.get("retry-after")) || null);
}

export async function listTasks(query: Record<string, string> = {}): Promise<Task[]> {
  return (await call("GET", `?${new URLSearchParams(query)}`)).json();
}

/** The same key again, after a lost answer, gives the same task and no second one. */
export async function createTask(task: NewTask, key: string = crypto.randomUUID()): Promise<Task> {
  return (await call("POST", "", task, { "idempotency-key": key })).json();
}

/** With the ETag of getTask the change is refused (412) when somebody else was faster. */
export async function editTask(id: number, changes: Partial<NewTask>, etag?: string): Promise<Task> {
  return (await call("PUT", `/${id}`, changes, etag ? { "if-match": etag } : {})).json();
}

export async function getTask(id: number): Promise<{ task: Task; etag: string | null }> {
  const answer = await call("GET", `/${id}`);
  return { task: await answer.json(), etag: answer.headers.get("etag") };
}

export async function toggleTask(id: number): Promise<Task> {
  return (await call("PATCH", `/${id}/complete`)).json();
}

export async function deleteTask(id: number): Promise<void> {
  await call("DELETE", `/${id}`);
}
