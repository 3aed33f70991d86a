"use client";
import { useRef, useState, type FormEvent } from "react";
import { authClient } from "../lib/auth-client";
import { resetSampleTasks } from "../lib/sample-tasks";
import type { TaskStore } from "../lib/task-store";
import { forgetToken } from "../lib/token";

/** What a user can do with their account. */
export function Menu({ user, demo, store }: { user: { name: string; email: string }; demo: boolean; store: TaskStore }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const details = useRef<HTMLDetailsElement>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);

  function leave(): void {
    forgetToken();
    new BroadcastChannel("session").postMessage("ended"); // the other tabs
    location.reload();
  }

  async function signOut(): Promise<void> {
    const { error } = await authClient.signOut().catch(() => ({ error: true }));
    if (error) store.announce("You are still signed in: there is no connection. Try again.");
    else leave();
  }

  async function reset(): Promise<void> {
    setBusy(true);
    try {
      await resetSampleTasks();
      store.announce("The sample data is as it was.");
    } catch {
      store.announce("The sample data could not be reset. Try again.");
    }
    await store.follow();
    setBusy(false);
    if (details.current) details.current.open = false;
  }

  async function deleteAccount(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    const password = String(new FormData(event.currentTarget).get("password"));
    const { error } = await authClient.deleteUser({ password }).catch(() => ({ error: { message: "There is no connection." } }));
    if (error) setProblem(error.message ?? "That did not work. Try again.");
    else leave();
  }

  return (
    <>
      <details className="menu" ref={details} onKeyDown={(event) => { if (event.key === "Escape" && details.current) details.current.open = false; }}>
        <summary>{user.name || user.email}</summary>
        <div className="card">
          <p className="muted">{user.email}</p>
          {demo && <button type="button" disabled={busy} onClick={() => void reset()}>Reset sample data</button>}
          <button type="button" onClick={() => void signOut()}>Sign out</button>
          <button type="button" className="danger" onClick={() => { setProblem(""); dialog.current?.showModal(); }}>Delete account</button>
        </div>
      </details>
      <dialog ref={dialog} className="card" aria-labelledby="delete-account">
        <form onSubmit={deleteAccount}>
          <h2 id="delete-account">Delete your account?</h2>
          <p>Your account and all your tasks are erased. This cannot be undone.</p>
          <label>Password<input name="password" type="password" autoComplete="current-password" required /></label>
          <p role="alert" className="problem">{problem}</p>
          <div className="line end">
            <button type="button" className="quiet" onClick={() => dialog.current?.close()}>Cancel</button>
            <button className="danger">Delete account</button>
          </div>
        </form>
      </dialog>
    </>
  );
}
