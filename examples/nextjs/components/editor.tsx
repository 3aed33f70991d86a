"use client";
import { useState, type FormEvent, type KeyboardEvent } from "react";
import { describeDue } from "../lib/due-date";
import type { Opened, TaskStore } from "../lib/task-store";
import type { Task, TaskUpdate } from "../lib/tasks";
import { Fields, readFields } from "./fields";

const describe = ({ title, description, priority, due_date, tags, completed }: Task) =>
  [title, description, priority, due_date && describeDue(due_date), ...tags, completed ? "done" : "open"].filter(Boolean).join(" · ");

/** Edits a task in its place in the list. */
export function Editor({ opened, store, close }: { opened: Opened; store: TaskStore; close: () => void }) {
  const [conflict, setConflict] = useState<Opened | null>(null);
  const [mine, setMine] = useState<TaskUpdate>({});
  const [saving, setSaving] = useState(false);

  async function save(base: Opened, fields: TaskUpdate): Promise<void> {
    if (saving) return;
    setSaving(true);
    setMine(fields);
    const result = await store.save(base, fields);
    setSaving(false);
    if ("conflict" in result) setConflict(result.conflict);
    else if (result.saved) close();
  }

  function send(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    void save(conflict ?? opened, { title: String(form.get("title")).trim(), description: String(form.get("description")).trim() || null, ...readFields(form, opened.task) });
  }

  // Escape also ends the composition of a character, such as a Chinese one.
  function leave(event: KeyboardEvent): void {
    if (event.key === "Escape" && !event.nativeEvent.isComposing && !saving) close();
  }

  return (
    <form className="editor" aria-label={`Edit ${opened.task.title}`} aria-busy={saving} onSubmit={send} onKeyDown={leave}>
      {conflict && (
        <div role="alert" className="banner problem">
          <p><strong>This task was changed elsewhere.</strong> It is now: {describe(conflict.task)}</p>
          <div className="line">
            <button type="button" disabled={saving} onClick={close}>Keep that</button>
            <button type="button" disabled={saving} onClick={() => void save(conflict, mine)}>Save mine instead</button>
          </div>
        </div>
      )}
      <label>Title<input name="title" autoFocus required maxLength={200} defaultValue={opened.task.title} autoComplete="off" /></label>
      <label>Description<textarea name="description" rows={2} maxLength={1000} defaultValue={opened.task.description ?? ""} /></label>
      <Fields task={opened.task} />
      <div className="line end">
        <button type="button" className="quiet" disabled={saving} onClick={close}>Cancel</button>
        <button className="primary" disabled={saving}>Save</button>
      </div>
    </form>
  );
}
