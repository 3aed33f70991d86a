// lib/tasks.ts: a small client of the task API for the browser.
import { ApiError } from "./api-error";
import { apiUrl } from "./api-url";
import type { components } from "./openapi";
import { withToken } from "./token";

export type Task = components["schemas"]["Task"];
export type TaskUpdate = components["schemas"]["TaskUpdate"];
export type TaskChanges = components["schemas"]["TaskChanges"];
export type NewTask = TaskUpdate & { title: string };
export type Priority = NonNullable<Task["priority"]>;

export async function call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response> {
  const response = await withToken(({ text, userId }) =>
    fetch(`${apiUrl()}/api/${encodeURIComponent(userId)}/tasks${path}`, {
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

/** Reads one page, the first if there is no cursor, and returns the cursor of the next page. */
export async function listPage(query: Record<string, string>, cursor = ""): Promise<{ tasks: Task[]; next: string | null }> {
  const response = await call("GET", `?${new URLSearchParams({ limit: "20", ...query, cursor })}`);
  const [, link] = /<([^>]+)>; rel="next"/.exec(response.headers.get("link") ?? "") ?? [];
  return { tasks: await response.json(), next: link ? new URL(link, response.url).searchParams.get("cursor") : null };
}

/** Reads what has changed since `next` of an earlier page; without `since`, all tasks. */
export async function listChanges(since?: string): Promise<TaskChanges> {
  return (await call("GET", `/changes${since ? `?since=${encodeURIComponent(since)}` : ""}`)).json();
}

/** A retry with the same key returns the same task and creates no second one. */
export async function createTask(task: NewTask, key: string = crypto.randomUUID()): Promise<Task> {
  return (await call("POST", "", task, { "idempotency-key": key })).json();
}

/** With the ETag from getTask, fails with 412 if the task has changed since. A retry sends the same key. */
export async function editTask(id: number, changes: TaskUpdate, etag?: string | null, key: string = crypto.randomUUID()): Promise<Task> {
  return (await call("PUT", `/${id}`, changes, { "idempotency-key": key, ...(etag ? { "if-match": etag } : {}) })).json();
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

/** Moves a task to the trash. */
export async function deleteTask(id: number): Promise<void> {
  await call("DELETE", `/${id}`);
}

/** Brings a task back from the trash. */
export async function restoreTask(id: number): Promise<Task> {
  return (await call("POST", `/${id}/restore`)).json();
}
