// lib/repeat.ts: retries failed requests without duplicate effects.
import { withRetries } from "./retry";
import { completeTask, createTask, me, type Task } from "./task-client";

/** All attempts send the same key, so only one task is created. */
export async function addTask(title: string, key: string = crypto.randomUUID()): Promise<Task> {
  const { data } = await withRetries(async () =>
    createTask({ path: { user_id: await me() }, headers: { "Idempotency-Key": key }, body: { title }, throwOnError: true }),
  );
  return data;
}

/** All attempts send the same key, so the task is toggled once. */
export async function toggleTask(id: number, key: string = crypto.randomUUID()): Promise<Task> {
  const { data } = await withRetries(async () =>
    completeTask({ path: { user_id: await me(), task_id: id }, headers: { "Idempotency-Key": key }, throwOnError: true }),
  );
  return data;
}
