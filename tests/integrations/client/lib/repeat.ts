// lib/repeat.ts: sends again what may not have arrived, without doing it twice.
import { ApiError } from "./api-error";
import { completeTask, createTask, me, type Task } from "./task-client";

const PASSING = [429, 502, 503, 504];

/** Calls `send` up to four times, until there is an answer that will not change by itself. */
export async function patiently<T>(send: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await send();
    } catch (error) {
      const refused = error instanceof ApiError ? error : null;
      const passing = refused ? PASSING.includes(refused.status) : error instanceof TypeError;
      if (!passing || tries === 4) throw error;
      const seconds = refused?.retryAfter ?? tries;
      await new Promise((resume) => setTimeout(resume, 1000 * seconds));
    }
  }
}

/** The key is made once, for all tries: however many arrive, there is one task. */
export async function addTask(title: string, key: string = crypto.randomUUID()): Promise<Task> {
  const { data } = await patiently(async () =>
    createTask({ path: { user_id: await me() }, headers: { "Idempotency-Key": key }, body: { title }, throwOnError: true }),
  );
  return data;
}

/** However many tries arrive, it is toggled once. */
export async function toggleTask(id: number, key: string = crypto.randomUUID()): Promise<Task> {
  const { data } = await patiently(async () =>
    completeTask({ path: { user_id: await me(), task_id: id }, headers: { "Idempotency-Key": key }, throwOnError: true }),
  );
  return data;
}
