"use client";
import { useEffect, useRef, useState, type FormEvent } from "react";
import type { NewTask } from "../lib/tasks";
import { Fields, readFields } from "./fields";

export function NewTaskForm({ add }: { add: (task: NewTask) => Promise<boolean> }) {
  const [open, setOpen] = useState(false);
  const [added, setAdded] = useState(0);
  const [ready, setReady] = useState(false); // before that the browser itself would send the form
  useEffect(() => setReady(true), []);
  const title = useRef<HTMLInputElement>(null);

  function send(event: FormEvent<HTMLFormElement>): void {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const task = { title: String(form.get("title")).trim(), ...(open ? readFields(form) : {}) };
    if (!task.title) return;
    void add(task);
    if (title.current) title.current.value = "";
    setAdded(added + 1); // empties the other fields
    title.current?.focus();
  }

  return (
    <form className="card new" onSubmit={send} aria-label="New task">
      <div className="line">
        <input ref={title} name="title" aria-label="Title of the new task" placeholder="Add a task" required maxLength={200} autoComplete="off" />
        <button type="button" className="quiet" aria-expanded={open} onClick={() => setOpen(!open)}>Details</button>
        <button className="primary" disabled={!ready}>Add</button>
      </div>
      {open && <Fields key={added} />}
    </form>
  );
}
