// lib/edit.ts: saves a change only if the task is as it was shown.
import { ApiError } from "./api-error";
import { getTask, me, updateTask, type Task, type TaskUpdate } from "./task-client";

export type Shown = { task: Task; etag: string };

function shown(task: Task, response: Response): Shown {
  // Compressing proxies make the ETag weak, and If-Match needs a strong one.
  return { task, etag: (response.headers.get("etag") ?? "").replace(/^W\//, "") };
}

export async function readTask(id: number): Promise<Shown> {
  const { data, response } = await getTask({ path: { user_id: await me(), task_id: id }, throwOnError: true });
  return shown(data, response);
}

/** Saves changes to the task as shown. If it has changed since, returns its current state as `conflict`. */
export async function saveTask({ task, etag }: Shown, changes: TaskUpdate): Promise<{ saved: Shown } | { conflict: Shown }> {
  try {
    const { data, response } = await updateTask({
      path: { user_id: await me(), task_id: task.id },
      headers: { "If-Match": etag },
      body: changes,
      throwOnError: true,
    });
    return { saved: shown(data, response) };
  } catch (error) {
    if (error instanceof ApiError && error.status === 412) return { conflict: await readTask(task.id) };
    throw error;
  }
}
