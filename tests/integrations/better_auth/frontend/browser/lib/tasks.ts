// lib/tasks.ts: a minimal client of the task API for the browser.
import { ApiError } from "./api-error";
import { withToken } from "./token";

const API = process.env.NEXT_PUBLIC_API_URL; // e.g. https://api.example.com, without a slash at the end

export type Task = {
  id: number;
  user_id: string;
  title: string;
  description: string | null;
  completed: boolean;
  priority: Priority | null;
  due_date: string | null; // "2026-12-24", or "2026-12-24T18:30:00.000000Z"
  tags: string[];
  completed_at: string | null;
  created_at: string;
  updated_at: string;
};
export type Priority = "low" | "medium" | "high" | "urgent";
export type NewTask = { title: string } & Partial<Pick<Task, "description" | "completed" | "priority" | "due_date" | "tags">>;

export async function call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response> {
  const response = await withToken(({ text, userId }) =>
    fetch(`${API}/api/${encodeURIComponent(userId)}/tasks${path}`, {
      method,
      headers: {
        authorization: `Bearer ${text}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    }),
  );
  if (response.ok) return response;
  throw new ApiError(response.status, await response.json().catch(() => null), response.headers);
}

export async function listTasks(query: Record<string, string> = {}): Promise<Task[]> {
  return (await call("GET", `?${new URLSearchParams(query)}`)).json();
}

/** A retry with the same key returns the same task and creates no second one. */
export async function createTask(task: NewTask, key: string = crypto.randomUUID()): Promise<Task> {
  return (await call("POST", "", task, { "idempotency-key": key })).json();
}

/** With the ETag from getTask, fails with 412 if the task has changed since. */
export async function editTask(id: number, changes: Partial<NewTask>, etag?: string): Promise<Task> {
  return (await call("PUT", `/${id}`, changes, etag ? { "if-match": etag } : {})).json();
}

export async function getTask(id: number): Promise<{ task: Task; etag: string | null }> {
  const response = await call("GET", `/${id}`);
  // Compressing proxies make the ETag weak, and If-Match needs a strong one.
  return { task: await response.json(), etag: response.headers.get("etag")?.replace(/^W\//, "") ?? null };
}

/** A retry with the same key does not toggle the task back. */
export async function toggleTask(id: number, key: string = crypto.randomUUID()): Promise<Task> {
  return (await call("PATCH", `/${id}/complete`, undefined, { "idempotency-key": key })).json();
}

export async function deleteTask(id: number): Promise<void> {
  await call("DELETE", `/${id}`);
}
