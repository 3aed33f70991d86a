"use client";
import { useState } from "react";
import { fromFields, toFields } from "../lib/due-date";
import type { Priority, Task, TaskUpdate } from "../lib/tasks";

export const PRIORITIES: Priority[] = ["urgent", "high", "medium", "low"];

// A tag that contains a comma is in quotes.
const writeTag = (tag: string) => (/^"|,/.test(tag) ? `"${tag.replaceAll('"', '""')}"` : tag);
const readTag = (text: string) => (/^".*"$/.test(text) ? text.slice(1, -1).replaceAll('""', '"') : text).trim();

function readTags(text: string): string[] {
  const parts = text.match(/\s*"(?:[^"]|"")*"|[^,]+/g) ?? [];
  return [...new Set(parts.map((part) => readTag(part.trim())).filter(Boolean))];
}

/** Why the API would refuse these tags, or "". */
function problemOfTags(tags: string[]): string {
  if (tags.length > 20) return "A task can have at most 20 tags.";
  return tags.some((tag) => [...tag].length > 50) ? "A tag can have at most 50 characters." : "";
}

/** The fields of a task besides its texts: priority, due date, tags. */
export function Fields({ task }: { task?: Task }) {
  const due = toFields(task?.due_date ?? null);
  const [date, setDate] = useState(due.date);
  return (
    <div className="fields">
      <label>
        Priority
        <select name="priority" defaultValue={task?.priority ?? ""}>
          <option value="">None</option>
          {PRIORITIES.map((each) => <option key={each} value={each}>{each[0]?.toUpperCase() + each.slice(1)}</option>)}
        </select>
      </label>
      <label>Due<input type="date" name="date" value={date} max="9999-12-30" onChange={(event) => setDate(event.target.value)} /></label>
      <label>Time<input type="time" name="time" defaultValue={due.time} disabled={!date} /></label>
      <label className="wide">Tags<input name="tags" defaultValue={task?.tags.map(writeTag).join(", ")} placeholder="home, errands" onInput={({ currentTarget: input }) => input.setCustomValidity(problemOfTags(readTags(input.value)))} autoComplete="off" /></label>
    </div>
  );
}

/** Reads the form, which was filled with `task`. */
export function readFields(form: FormData, task?: Task): TaskUpdate {
  const text = (name: string) => String(form.get(name) ?? "");
  const due = toFields(task?.due_date ?? null);
  // The fields show no seconds, and one time for both hours at the end of summer time.
  const sameDue = due.date === text("date") && due.time === text("time");
  return {
    priority: (text("priority") || null) as Priority | null,
    due_date: sameDue ? (task?.due_date ?? null) : fromFields(text("date"), text("time")),
    tags: readTags(text("tags")),
  };
}
