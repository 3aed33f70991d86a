// lib/repeat.ts: retries failed requests without duplicate effects.
import { ApiError } from "./api-error";
import { completeTask, createTask, me, type Task } from "./task-client";

const RETRYABLE = [429, 502, 503, 504];

/** Calls `send` up to four times, until it succeeds or fails with an error that a retry cannot fix. */
export async function withRetries<T>(send: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      const apiError = error instanceof ApiError ? error : null;
      const retryable = apiError ? RETRYABLE.includes(apiError.status) : error instanceof TypeError;
      if (!retryable || attempt === 4) throw error;
      const seconds = apiError?.retryAfter ?? attempt;
      await new Promise((resume) => setTimeout(resume, 1000 * seconds));
    }
  }
}

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
