"use client";
import { memo, useRef, useState } from "react";
import { describeDue, isOverdue } from "../lib/due-date";
import type { Opened, ShownTask, TaskStore } from "../lib/task-store";
import { Editor } from "./editor";

type Props = { task: ShownTask; store: TaskStore; tag: (tag: string) => void; leave: () => void };

const Icon = ({ path }: { path: string }) => <svg viewBox="0 0 24 24" aria-hidden="true"><path d={path} /></svg>;

export const Row = memo(function Row({ task, store, tag, leave }: Props) {
  const [opened, setOpened] = useState<Opened | null>(null);
  const edit = useRef<HTMLButtonElement>(null);
  const waiting = task.id < 0; // until the server has created it

  async function open(): Promise<void> {
    const read = await store.open(task);
    if (read) setOpened(read);
    else store.close(task);
  }

  function close(): void {
    setOpened(null);
    store.close(task);
    requestAnimationFrame(() => (edit.current ? edit.current.focus() : leave())); // a filter may exclude the task now
  }

  if (opened) return <li className="card"><Editor opened={opened} store={store} close={close} /></li>;
  return (
    <li className={`card row${task.completed ? " done" : ""}`} aria-busy={task.saving}>
      <input type="checkbox" aria-label={`Done: ${task.title}`} checked={task.completed} disabled={waiting} onChange={(event) => void store.set(task, { completed: event.target.checked })} />
      <div className="text">
        <h2>{task.title}</h2>
        {task.description && <p className="muted">{task.description}</p>}
        <p className="meta">
          {task.priority && <span className={`priority ${task.priority}`}>{task.priority}</span>}
          {task.due_date && <span className={!task.completed && isOverdue(task.due_date) ? "due overdue" : "due"}>{!task.completed && isOverdue(task.due_date) && <span className="sr">Overdue: </span>}{describeDue(task.due_date)}</span>}
          {task.tags.map((each) => <button key={each} type="button" className="tag" onClick={() => tag(each)}><span className="sr">Show only </span>{each}</button>)}
        </p>
      </div>
      <div className="actions">
        <button ref={edit} type="button" className="quiet icon" disabled={waiting} title="Edit" aria-label={`Edit: ${task.title}`} onClick={() => void open()}><Icon path="M4 20h4L19 9l-4-4L4 16zM13 7l4 4" /></button>
        <button type="button" className="quiet icon" disabled={waiting} title="Delete" aria-label={`Delete: ${task.title}`} onClick={() => { leave(); void store.remove(task); }}><Icon path="M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5" /></button>
      </div>
    </li>
  );
});
