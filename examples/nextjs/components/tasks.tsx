"use client";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { addSampleTasksOnce } from "../lib/sample-tasks";
import { EVERYTHING } from "../lib/task-list";
import { openTaskStore, START } from "../lib/task-store";
import { forgetToken } from "../lib/token";
import { Filters } from "./filters";
import { Menu } from "./menu";
import { NewTaskForm } from "./new-task-form";
import { Row } from "./row";

/** The page of a signed-in user. */
export function Tasks({ user, demo }: { user: { id: string; name: string; email: string }; demo: boolean }) {
  const [store] = useState(openTaskStore);
  const { tasks, phase, more, query, notice, connected, signedOut } = useSyncExternalStore(store.subscribe, store.snapshot, () => START);
  const heading = useRef<HTMLHeadingElement>(null);
  const end = useRef<HTMLDivElement>(null);

  useEffect(() => {
    forgetToken(user.id); // another tab may have signed in as another user since the server rendered the page
    if (demo) void addSampleTasksOnce().then(store.follow, () => undefined);
    return store.start();
  }, [store, demo, user.id]);

  useEffect(() => {
    const session = new BroadcastChannel("session");
    session.onmessage = () => location.reload(); // signed out in another tab
    return () => session.close();
  }, []);

  useEffect(() => {
    if (more !== "available" || !end.current) return;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && void store.readMore(), { rootMargin: "400px" });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [store, more]);

  const filtered = JSON.stringify({ ...query, sort: "", order: "" }) !== JSON.stringify({ ...EVERYTHING, sort: "", order: "" });
  return (
    <main>
      <header>
        <h1 tabIndex={-1} ref={heading}>Tasks</h1>
        <Menu user={user} demo={demo} store={store} />
      </header>
      {signedOut && (
        <div role="alert" className="banner problem">{signedOut} <button type="button" onClick={() => location.reload()}>Continue</button></div>
      )}
      {!connected && !signedOut && <p role="status" className="banner">No connection. You see the tasks as they were last read.</p>}
      <NewTaskForm add={store.add} />
      <Filters query={query} show={store.show} />
      <section aria-label="List of tasks" aria-busy={phase === "loading"}>
        <ul className="tasks">
          {tasks.map((task) => (
            <Row key={task.id} task={task} store={store} tag={(tag) => store.show({ ...query, tag })} leave={() => heading.current?.focus()} />
          ))}
          {phase === "loading" && tasks.length === 0 && [1, 2, 3, 4].map((each) => <li key={each} className="card skeleton" aria-hidden="true" />)}
        </ul>
        {phase === "failed" && (
          <div className="empty" role="alert">
            <p>The tasks could not be read.</p>
            <button type="button" onClick={() => void store.read()}>Try again</button>
          </div>
        )}
        {phase === "ready" && tasks.length === 0 && (
          <div className="empty">
            <p>{filtered ? "No task matches." : "Nothing to do. Add your first task above."}</p>
            {filtered && <button type="button" onClick={() => store.show({ ...EVERYTHING, sort: query.sort, order: query.order })}>Show all tasks</button>}
          </div>
        )}
        <div ref={end} className="end">
          {more !== "none" && <button type="button" onClick={() => void store.readMore()} disabled={more === "loading"}>{more === "loading" ? "Reading more tasks …" : "More tasks"}</button>}
        </div>
      </section>
      <div role="status" className={notice ? (notice.failed ? "notice problem" : "notice") : "notice hidden"}>
        {notice && (
          <>
            <span>{notice.text}</span>
            {notice.action && <button type="button" onClick={() => { store.dismiss(); notice.action?.run(); heading.current?.focus(); }}>{notice.action.label}</button>}
            <button type="button" aria-label="Dismiss" onClick={() => { store.dismiss(); heading.current?.focus(); }}>✕</button>
          </>
        )}
      </div>
    </main>
  );
}
