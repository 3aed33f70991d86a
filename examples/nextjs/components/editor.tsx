"use client";
import { useState, type FormEvent } from "react";
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

  async function save(base: Opened, fields: TaskUpdate): Promise<void> {
    setMine(fields);
    const result = await store.save(base, fields);
    if ("conflict" in result) setConflict(result.conflict);
    else if (result.saved) close();
  }

  function send(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    void save(conflict ?? opened, { title: String(form.get("title")).trim(), description: String(form.get("description")).trim() || null, ...readFields(form, opened.task) });
  }

  return (
    <form className="editor" aria-label={`Edit ${opened.task.title}`} onSubmit={send} onKeyDown={(event) => event.key === "Escape" && close()}>
      {conflict && (
        <div role="alert" className="banner problem">
          <p><strong>This task was changed elsewhere.</strong> It is now: {describe(conflict.task)}</p>
          <div className="line">
            <button type="button" onClick={close}>Keep that</button>
            <button type="button" onClick={() => void save(conflict, mine)}>Save mine instead</button>
          </div>
        </div>
      )}
      <label>Title<input name="title" autoFocus required maxLength={200} defaultValue={opened.task.title} autoComplete="off" /></label>
      <label>Description<textarea name="description" rows={2} maxLength={1000} defaultValue={opened.task.description ?? ""} /></label>
      <Fields task={opened.task} />
      <div className="line end">
        <button type="button" className="quiet" onClick={close}>Cancel</button>
        <button className="primary">Save</button>
      </div>
    </form>
  );
}
