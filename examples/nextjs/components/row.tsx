"use client";
import { memo, useRef, useState } from "react";
import { describeDue, isOverdue } from "../lib/due-date";
import type { Opened, ShownTask, TaskStore } from "../lib/task-store";
import { Editor } from "./editor";

type Props = { task: ShownTask; store: TaskStore; tag: (tag: string) => void; leave: () => void };

export const Row = memo(function Row({ task, store, tag, leave }: Props) {
  const [opened, setOpened] = useState<Opened | null>(null);
  const edit = useRef<HTMLButtonElement>(null);
  const waiting = task.id < 0; // until the server has created it

  function close(): void {
    setOpened(null);
    requestAnimationFrame(() => edit.current?.focus());
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
        <button ref={edit} type="button" className="quiet" disabled={waiting} aria-label={`Edit: ${task.title}`} onClick={async () => setOpened(await store.open(task))}>Edit</button>
        <button type="button" className="quiet" disabled={waiting} aria-label={`Delete: ${task.title}`} onClick={() => { leave(); void store.remove(task); }}>Delete</button>
      </div>
    </li>
  );
});
