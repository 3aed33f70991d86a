// lib/task-store.ts: the user's tasks as the page shows them: what the server said, with the changes that are being sent.
import { ApiError } from "./api-error";
import { withRetries } from "./retry";
import { compare, EVERYTHING, matches, type Query } from "./task-list";
import { createTask, deleteTask, editTask, getTask, listChanges, listPage, restoreTask, type NewTask, type Task, type TaskUpdate } from "./tasks";

const POLL_SECONDS = 3;
const NEW = { user_id: "", title: "", description: null, completed: false, priority: null, due_date: null, tags: [], completed_at: null };

export type ShownTask = Task & { saving: boolean };
export type Notice = { text: string; failed: boolean; action?: { label: string; run: () => void } };
export type Opened = { task: Task; etag: string | null };
export type State = {
  tasks: ShownTask[];
  phase: "loading" | "ready" | "failed";
  more: "none" | "available" | "loading";
  query: Query;
  notice: Notice | null;
  connected: boolean;
  signedOut: string | null; // why the user must sign in again
};
export const START: State = { tasks: [], phase: "loading", more: "none", query: EVERYTHING, notice: null, connected: true, signedOut: null };

// `fields` is null for a deletion. A task that is being created has a negative id; `after` is the newest id before it.
type Change = { id: number; fields: Partial<Task> | null; after?: number };

const short = (title: string) => `“${title.length > 40 ? `${title.slice(0, 39)}…` : title}”`;

export function openTaskStore() {
  let state = START;
  const listeners = new Set<() => void>();
  const known = new Map<number, Task>();
  const gone = new Map<number, string>(); // deleted tasks, with `updated_at` of the state that was deleted
  const changes = new Set<Change>();
  const turns = new Map<number, Promise<unknown>>();
  const edited = new Map<number, Task>(); // shown until the editor closes, also if a filter excludes them or they are deleted
  // The list is complete up to `end`, the last task that was read, or wholly if there is no cursor.
  let [end, cursor]: [Task | null, string | null] = [null, null];
  let reads = 0;

  function publish(update: Partial<State> = {}): void {
    const tasks = new Map<number, ShownTask>();
    for (const task of known.values()) tasks.set(task.id, { ...task, saving: false });
    const created = new Set<number>();
    for (const { id, fields, after } of changes) {
      // The feed of changes may bring a new task before the response that creates it, above all if that was lost.
      const arrived = after === undefined ? undefined : [...known.values()].find((task) => task.id > after && task.title === fields?.title && !created.has(task.id));
      if (arrived) {
        created.add(arrived.id);
        continue;
      }
      const task = tasks.get(id) ?? (id < 0 ? { ...NEW, id, created_at: new Date().toISOString(), updated_at: "", saving: true } : null);
      if (!fields) tasks.delete(id);
      else if (task) tasks.set(id, { ...task, ...fields, saving: true });
    }
    for (const [id, task] of edited) if (!tasks.has(id)) tasks.set(id, { ...task, saving: false });
    const query = update.query ?? state.query;
    const inOrder = compare(query);
    const shown = [...tasks.values()].filter((task) => edited.has(task.id) || (matches(task, query) && (!cursor || !end || inOrder(task, end) <= 0)));
    state = { ...state, ...update, tasks: shown.sort(inOrder) };
    for (const listener of listeners) listener();
  }

  // A response may arrive after a newer state of the task.
  function remember(task: Task): void {
    const { updated_at } = known.get(task.id) ?? { updated_at: "" };
    if (updated_at <= task.updated_at && (gone.get(task.id) ?? "") < task.updated_at) known.set(task.id, task);
  }

  function forget(id: number): void {
    const task = known.get(id);
    if (task) gone.set(id, task.updated_at);
    known.delete(id);
  }

  /** Shows a failed request. Returns false, so that callers can return it. */
  function failed(error: unknown, text: string, again?: () => void): false {
    if (error instanceof ApiError && [401, 403].includes(error.status)) publish({ signedOut: `${text} ${error.detail}`.trim() });
    else {
      const reason = error instanceof ApiError ? error.detail : "There is no connection.";
      const final = error instanceof ApiError && error.status < 500 && error.status !== 429;
      const earlier = state.notice?.failed && state.notice.action ? state.notice : null; // must not be lost
      const runs = [earlier?.action?.run, final ? undefined : again].filter((run) => run !== undefined);
      const action = runs.length ? { label: "Try again", run: () => runs.forEach((run) => run()) } : undefined;
      publish({ notice: { text: [earlier?.text.replace(reason, "").trim(), text, reason].filter(Boolean).join(" "), failed: true, action } });
    }
    return false;
  }

  /** Shows a message, unless a failed change waits for the user. */
  function inform(notice: Notice): void {
    if (!state.notice?.failed || !state.notice.action) publish({ notice });
  }

  /** Shows a change at once and sends it, after earlier changes of the same task. If it fails, the task is shown as it was. */
  async function apply(change: Change, send: () => Promise<Task | void>, failure: string, done?: () => void): Promise<boolean> {
    changes.add(change);
    publish();
    const turn = (turns.get(change.id) ?? Promise.resolve()).then(() => withRetries(send));
    turns.set(change.id, turn.catch(() => undefined));
    try {
      const task = await turn;
      if (task) remember(task);
      changes.delete(change);
      publish();
      done?.();
      return true;
    } catch (error) {
      changes.delete(change);
      if (error instanceof ApiError && error.status === 412) {
        publish();
        throw error;
      }
      if (error instanceof ApiError && error.status === 404) forget(change.id);
      // The editor of an edited task is still open, and has the button for it.
      return failed(error, failure, edited.has(change.id) ? undefined : () => void apply(change, send, failure, done)); // with the same key
    }
  }

  async function read(): Promise<void> {
    const mine = ++reads;
    [end, cursor] = [null, null];
    publish({ phase: "loading", more: "none" });
    try {
      const page = await withRetries(() => listPage(state.query));
      if (mine !== reads) return;
      for (const task of page.tasks) remember(task);
      [end, cursor] = [page.tasks.at(-1) ?? null, page.next];
      publish({ phase: "ready", more: cursor ? "available" : "none" });
    } catch (error) {
      if (mine !== reads) return;
      if (error instanceof ApiError && [401, 403].includes(error.status)) failed(error, "");
      publish({ phase: "failed" });
    }
  }

  async function readMore(): Promise<void> {
    if (state.more !== "available" || !cursor) return;
    const [mine, from] = [reads, cursor];
    publish({ more: "loading" });
    try {
      const page = await withRetries(() => listPage(state.query, from));
      if (mine !== reads) return;
      for (const task of page.tasks) remember(task);
      [end, cursor] = [page.tasks.at(-1) ?? end, page.next];
      publish({ more: cursor ? "available" : "none" });
    } catch (error) {
      if (mine !== reads) return;
      publish({ more: "available" });
      failed(error, "The next tasks could not be read.", () => void readMore());
    }
  }

  let since: string | undefined;
  let first: { before: Set<number>; seen: Set<number> } | null = null;

  /** Reads what has changed elsewhere. The first time it reads all tasks, and so also learns which are gone. */
  async function pull(): Promise<void> {
    for (let more = true; more; ) {
      if (!since) first = { before: new Set(known.keys()), seen: new Set() };
      const page = await listChanges(since).catch((error: unknown) => {
        // The position is too old (410), or the key that signed it is no longer used (422): start again.
        if (!since || !(error instanceof ApiError) || ![410, 422].includes(error.status)) throw error;
        return null;
      });
      since = page?.next;
      if (!page) continue;
      for (const task of page.tasks) {
        first?.seen.add(task.id);
        remember(task);
      }
      for (const id of page.deleted) forget(id);
      more = page.more;
    }
    for (const id of first?.before ?? []) if (!first?.seen.has(id)) forget(id);
    first = null;
  }

  let pulling = false;
  async function follow(): Promise<void> {
    if (pulling || document.hidden || state.signedOut) return;
    pulling = true;
    try {
      await pull();
      const back = !state.connected;
      publish({ connected: true });
      if (back && state.phase === "failed") void read();
    } catch (error) {
      if (error instanceof ApiError && [401, 403].includes(error.status)) failed(error, "");
      else publish({ connected: false });
    } finally {
      pulling = false;
    }
  }

  return {
    snapshot: () => state,
    subscribe(listener: () => void): () => void {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    /** Reads the list, and follows the changes of other tabs and devices. Returns a function that ends it. */
    start(): () => void {
      void read().then(follow);
      const timer = setInterval(follow, 1000 * POLL_SECONDS);
      const offline = () => publish({ connected: false });
      const unload = (event: Event) => {
        if (changes.size > 0) event.preventDefault(); // the browser asks whether to leave
      };
      addEventListener("online", follow);
      addEventListener("offline", offline);
      addEventListener("beforeunload", unload);
      document.addEventListener("visibilitychange", follow);
      return () => {
        reads += 1;
        clearInterval(timer);
        removeEventListener("online", follow);
        removeEventListener("offline", offline);
        removeEventListener("beforeunload", unload);
        document.removeEventListener("visibilitychange", follow);
      };
    },

    read,
    readMore,
    follow,
    dismiss: () => publish({ notice: null }),
    announce: (text: string) => inform({ text, failed: false }),

    show(query: Query): void {
      publish({ query });
      void read();
    },

    add(task: NewTask): Promise<boolean> {
      const key = crypto.randomUUID();
      const change = { id: -Date.now() - Math.random(), fields: task as Partial<Task>, after: Math.max(0, ...known.keys()) };
      return apply(change, () => createTask(task, key), `${short(task.title)} was not added.`);
    },

    /** Sets fields whatever the task is now. */
    set(task: Task, fields: TaskUpdate): Promise<boolean> {
      const key = crypto.randomUUID();
      return apply({ id: task.id, fields }, () => editTask(task.id, fields, null, key), `${short(task.title)} was not changed.`);
    },

    /** Reads a task for editing, and shows it until close(). Returns null if that failed. */
    async open(task: Task): Promise<Opened | null> {
      edited.set(task.id, task);
      try {
        const opened = await withRetries(() => getTask(task.id));
        remember(opened.task);
        publish();
        return opened;
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) forget(task.id);
        failed(error, `${short(task.title)} could not be opened.`);
        return null;
      }
    },

    close(task: Task): void {
      edited.delete(task.id);
      publish();
    },

    /** Saves an edited task. If it has changed since it was opened, returns its current state as `conflict`. */
    async save({ task, etag }: Opened, fields: TaskUpdate): Promise<{ saved: boolean } | { conflict: Opened }> {
      const key = crypto.randomUUID();
      try {
        return { saved: await apply({ id: task.id, fields }, () => editTask(task.id, fields, etag, key), `${short(task.title)} was not saved.`) };
      } catch {
        const current = await this.open(task);
        return current ? { conflict: current } : { saved: false };
      }
    },

    remove(task: Task): Promise<boolean> {
      const send = async () => {
        // 404: it is deleted already, perhaps by a request whose response was lost.
        await deleteTask(task.id).catch((error: unknown) => {
          if (!(error instanceof ApiError) || error.status !== 404) throw error;
        });
        forget(task.id);
      };
      const undo = () => void apply({ id: task.id, fields: {} }, () => restoreTask(task.id), `${short(task.title)} was not restored.`, () => inform({ text: `Restored ${short(task.title)}.`, failed: false }));
      const done = () => inform({ text: `Deleted ${short(task.title)}.`, failed: false, action: { label: "Undo", run: undo } });
      return apply({ id: task.id, fields: null }, send, `${short(task.title)} was not deleted.`, done);
    },
  };
}

export type TaskStore = ReturnType<typeof openTaskStore>;
