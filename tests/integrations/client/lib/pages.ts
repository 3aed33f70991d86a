// lib/pages.ts: a long list, page by page.
import { listTasks, me, type Task } from "./task-client";

/** One page, and the cursor of the next one; without a cursor, the first page. */
export async function readPage(cursor?: string): Promise<{ tasks: Task[]; next?: string }> {
  const query = { status: "pending", limit: 20, cursor } as const;
  const { data, response } = await listTasks({ path: { user_id: await me() }, query, throwOnError: true });
  const [, link] = /<([^>]+)>; rel="next"/.exec(response.headers.get("link") ?? "") ?? [];
  const next = link && new URL(link, response.url).searchParams.get("cursor");
  return { tasks: data, next: next || undefined };
}
