// lib/pages.ts: reads a long list page by page.
import { listTasks, me, type Task } from "./task-client";

/** Reads one page, the first if there is no cursor, and returns the cursor of the next page. */
export async function readPage(cursor?: string): Promise<{ tasks: Task[]; next?: string }> {
  const query = { status: "pending", limit: 20, cursor } as const;
  const { data, response } = await listTasks({ path: { user_id: await me() }, query, throwOnError: true });
  const [, link] = /<([^>]+)>; rel="next"/.exec(response.headers.get("link") ?? "") ?? [];
  const next = link && new URL(link, response.url).searchParams.get("cursor");
  return { tasks: data, next: next || undefined };
}
