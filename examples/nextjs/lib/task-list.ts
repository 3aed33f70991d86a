// lib/task-list.ts: which tasks a list shows, and in which order, as the API does it.
import type { Task } from "./tasks";

export type Query = { status: string; priority: string; tag: string; q: string; sort: string; order: "asc" | "desc" };
export const EVERYTHING: Query = { status: "all", priority: "", tag: "", q: "", sort: "created", order: "desc" };
const RANKS = ["low", "medium", "high", "urgent"];



export function matches(task: Task, { status, priority, tag, q }: Query): boolean {
  const text = `${task.title}\n${task.description ?? ""}`.toLowerCase();
  return (
    (status === "all" || task.completed === (status === "completed")) &&
    (!priority || (task.priority ?? "none") === priority) &&
    (!tag || task.tags.includes(tag)) &&
    text.includes(q.toLowerCase())
  );
}

function sortKey(task: Task, { sort, order }: Query): string | number {
  if (sort === "title") return task.title.toLowerCase();
  if (sort === "priority") return task.priority ? RANKS.indexOf(task.priority) : -1;
  // Tasks without a due date come last in both directions. A date counts as its midnight in UTC.
  if (sort === "due_date") return task.due_date ? Date.parse(task.due_date) : order === "asc" ? Infinity : -Infinity;
  return sort === "updated" ? task.updated_at : task.created_at;
}

/** Compares two tasks for `sort()`. The id decides between equal ones. */
export function compare(query: Query): (a: Task, b: Task) => number {
  const direction = query.order === "asc" ? 1 : -1;
  return (a, b) => {
    const [x, y] = [sortKey(a, query), sortKey(b, query)];
    return direction * (x < y ? -1 : x > y ? 1 : a.id - b.id);
  };
}
