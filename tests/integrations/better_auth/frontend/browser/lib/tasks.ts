// lib/tasks.ts: the task API from the browser, by hand.
import { ApiError } from "./api-error";
import { withToken } from "./token";

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

async function call(method: string, path: string, body?: unknown, more?: Record<string, string>): Promise<Response> {
  const answer = await withToken(({ text, userId }) =>
    fetch(`${API}/api/${encodeURIComponent(userId)}/tasks${path}`, {
      method,
      headers: {
        authorization: `Bearer ${text}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...more,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    }),
  );
  if (answer.ok) return answer;
  throw new ApiError(answer.status, await answer.json().catch(() => null), answer.headers);
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
  // Proxies that compress mark the tag as weak, and If-Match takes strong ones only.
  return { task: await answer.json(), etag: answer.headers.get("etag")?.replace(/^W\//, "") ?? null };
}

/** The same key again, after a lost answer, does not toggle back. */
export async function toggleTask(id: number, key: string = crypto.randomUUID()): Promise<Task> {
  return (await call("PATCH", `/${id}/complete`, undefined, { "idempotency-key": key })).json();
}

export async function deleteTask(id: number): Promise<void> {
  await call("DELETE", `/${id}`);
}
