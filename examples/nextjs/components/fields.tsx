"use client";
import { useState } from "react";
import { fromFields, toFields } from "../lib/due-date";
import type { Priority, Task, TaskUpdate } from "../lib/tasks";

export const PRIORITIES: Priority[] = ["urgent", "high", "medium", "low"];

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
      <label className="wide">Tags<input name="tags" defaultValue={task?.tags.join(", ")} placeholder="home, errands" autoComplete="off" /></label>
    </div>
  );
}

/** Reads the form. */
export function readFields(form: FormData): TaskUpdate {
  const text = (name: string) => String(form.get(name) ?? "");
  const tags = text("tags").split(",").map((tag) => tag.trim()).filter(Boolean);
  return {
    priority: (text("priority") || null) as Priority | null,
    due_date: fromFields(text("date"), text("time")),
    tags: [...new Set(tags)],
  };
}
