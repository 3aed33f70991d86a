"use client";
import { useRouter } from "next/navigation";
import { useState, useTransition, type FormEvent } from "react";
import { authClient } from "../lib/auth-client";
import { addSampleTasksOnce } from "../lib/sample-tasks";
import { forgetToken } from "../lib/token";

/** Signs a person in, or up. */
export function Account({ demo }: { demo: boolean }) {
  const router = useRouter();
  const [isNew, setNew] = useState(false);
  const [error, setError] = useState("");
  const [sending, setSending] = useState(false);
  const [refreshing, startRefresh] = useTransition();
  const busy = sending || refreshing;

  async function send(event: FormEvent<HTMLFormElement>): Promise<void> {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [name, email, password] = ["name", "email", "password"].map((field) => String(form.get(field) ?? "")) as [string, string, string];
    setSending(true);
    setError("");
    try {
      const result = isNew ? await authClient.signUp.email({ name, email, password }) : await authClient.signIn.email({ email, password });
      if (result.error) return setError(result.error.message ?? "That did not work. Try again.");
      forgetToken();
      if (isNew && demo) await addSampleTasksOnce().catch(() => undefined); // the page also works without
      startRefresh(() => router.refresh());
    } catch {
      setError("There is no connection. Try again.");
    } finally {
      setSending(false);
    }
  }

  return (
    <main className="account card">
      <h1>Tasks</h1>
      <p className="muted">{isNew ? "Create an account." : "Sign in to see your tasks."}</p>
      <form method="post" onSubmit={send} aria-busy={busy}>
        {isNew && <label>Name<input name="name" autoComplete="name" required maxLength={100} /></label>}
        <label>E-mail<input name="email" type="email" autoComplete="email" required /></label>
        <label>
          Password
          <input name="password" type="password" autoComplete={isNew ? "new-password" : "current-password"} required minLength={8} maxLength={128} />
        </label>
        <p role="alert" className="problem">{error}</p>
        <button className="primary" disabled={busy}>{isNew ? "Sign up" : "Sign in"}</button>
      </form>
      <button className="link" type="button" onClick={() => { setNew(!isNew); setError(""); }}>
        {isNew ? "I have an account" : "Create an account"}
      </button>
    </main>
  );
}
