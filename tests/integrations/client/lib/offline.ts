// lib/offline.ts: a copy of the user's tasks that can be read and changed without a connection.
import { ApiError } from "./api-error";
import { call, getTask, type NewTask, type Task } from "./tasks";

// A change that the server has not confirmed. A task that was created offline has a negative id until then.
type Change = {
  id: number;
  method: "POST" | "PATCH" | "DELETE";
  body?: Partial<NewTask>;
  key: string; // makes a repeated request harmless
  base?: string; // `updated_at` of the task that the user saw
  etag?: string | null; // of the same state
};
type Copy = { since?: string; tasks: Record<number, Task>; queue: Change[] };
type Page = { tasks: Task[]; deleted: number[]; next: string; more: boolean };
/** A change that the server refused: the task was changed or deleted elsewhere (412, 404), or the input is invalid (422). */
export type Refused = { change: Change; error: ApiError };

const RETRY_LATER = [401, 408, 429];
const NEW = { description: null, completed: false, priority: null, due_date: null, tags: [], completed_at: null, created_at: "", updated_at: "" };

export function openTasks(userId: string) {
  const name = `tasks of ${userId}`;
  const copy: Copy = JSON.parse(localStorage.getItem(name) ?? '{"tasks": {}, "queue": []}');
  const save = () => localStorage.setItem(name, JSON.stringify(copy));

  function enqueue(change: Omit<Change, "key" | "base">): void {
    copy.queue.push({ ...change, key: crypto.randomUUID(), base: copy.tasks[change.id]?.updated_at });
    save();
  }

  /** The tasks as the user has left them: the copy with the changes that wait. */
  function list(): Task[] {
    const tasks = new Map(Object.values(copy.tasks).map((task) => [task.id, task]));
    for (const { id, method, body } of copy.queue) {
      if (method === "DELETE") tasks.delete(id);
      else tasks.set(id, { ...NEW, title: "", user_id: userId, ...tasks.get(id), ...body, id });
    }
    return [...tasks.values()];
  }

  async function send(change: Change): Promise<void> {
    if (change.base && !change.etag) {
      const { task, etag } = await getTask(change.id);
      if (task.updated_at !== change.base) throw new ApiError(412, { detail: "The task was changed elsewhere." });
      change.etag = etag; // stored before the change is sent, so that a repeated request is the same
      save();
    }
    const headers = { ...(change.method === "DELETE" ? {} : { "idempotency-key": change.key }), ...(change.etag ? { "if-match": change.etag } : {}) };
    const response = await call(change.method, change.method === "POST" ? "" : `/${change.id}`, change.body, headers);
    if (change.method === "DELETE") return void delete copy.tasks[change.id];
    const task: Task = await response.json();
    copy.tasks[task.id] = task;
    const sameTask = copy.queue.filter(({ id }) => id === change.id);
    for (const each of sameTask) Object.assign(each, { id: task.id, base: task.updated_at });
  }

  /** Sends the changes in their order. Stops without a connection. Returns those that the server refused. */
  async function push(): Promise<Refused[]> {
    const refused: Refused[] = [];
    for (let change = copy.queue[0]; change; change = copy.queue[0]) {
      const { id } = change;
      try {
        await send(change);
      } catch (error) {
        if (!(error instanceof ApiError) || error.status >= 500 || RETRY_LATER.includes(error.status)) throw error;
        // 404 after a DELETE: it was deleted already, perhaps by a request whose response was lost.
        if (change.method !== "DELETE" || error.status !== 404) refused.push({ change, error });
      }
      copy.queue.shift();
      // Changes of a task that could not be created cannot be sent.
      if (change.method === "POST" && refused.at(-1)?.change === change) copy.queue = copy.queue.filter((later) => later.id !== id);
      save();
    }
    return refused;
  }

  /** Reads what has changed on the server since the last time. */
  async function pull(): Promise<void> {
    for (let more = true; more; save()) {
      try {
        const response = await call("GET", `/changes${copy.since ? `?since=${encodeURIComponent(copy.since)}` : ""}`);
        const page: Page = await response.json();
        if (!copy.since) copy.tasks = {}; // the first page names no deleted tasks
        for (const task of page.tasks) copy.tasks[task.id] = task;
        for (const id of page.deleted) delete copy.tasks[id];
        [copy.since, more] = [page.next, page.more];
      } catch (error) {
        // The position is too old (410), or the key that signed it is no longer used (422).
        if (!copy.since || !(error instanceof ApiError) || ![410, 422].includes(error.status)) throw error;
        delete copy.since;
      }
    }
  }

  return {
    list,
    add: (task: NewTask) => enqueue({ id: -Date.now() - Math.random(), method: "POST", body: task }),
    edit: (id: number, body: Partial<NewTask>) => enqueue({ id, method: "PATCH", body }),
    remove: (id: number) => enqueue({ id, method: "DELETE" }),
    async sync(): Promise<Refused[]> {
      const refused = await push();
      await pull();
      return refused;
    },
  };
}
