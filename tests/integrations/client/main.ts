// Uses the files that docs/client.md shows and the generated client against running APIs, and prints what it did.
//
// Environment: API_URL; AWAY_URL, an API whose database is away; USER_ID; TOKENS, in the order in which they are
// fetched: an expired one, a good one, two that are not this API's. Exits 1 at the first thing that is wrong.
import assert from "node:assert/strict";
import { createServer, request as forward } from "node:http";
import type { AddressInfo } from "node:net";
import { ApiError } from "./lib/api-error";
import { fetched } from "./lib/fetch-token";
import { readTask, saveTask } from "./lib/edit";
import { readPage } from "./lib/pages";
import { addTask, withRetries, toggleTask } from "./lib/repeat";
import {
  completeTask, createTask, deleteTask, getHealth, getReadiness, getTask, listTasks, me, updateTask,
  type CompleteTaskErrors, type CreateTaskErrors, type DeleteTaskErrors, type ErrorResponse, type FieldError,
  type GetTaskErrors, type ListTasksErrors, type Task, type UpdateTaskErrors,
} from "./lib/task-client";
import { client } from "./lib/client/client.gen";
import { forgetToken } from "./lib/token";

const { API_URL = "", AWAY_URL = "", USER_ID = "" } = process.env;
const task_id = 2_000_000_000;

async function step(what: string, action: () => Promise<void>): Promise<void> {
  await action();
  console.log(`ok  ${what}`);
}

async function refused(status: number, action: Promise<unknown>): Promise<ApiError> {
  const error = await action.then(() => assert.fail(`answered, and not ${status}`), (reason: unknown) => reason);
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, status, error.message);
  assert.match(error.message, /^\S.*\S$/);
  return error;
}

// Between the client and the API: swallows the first answer to each method of `lose`, once the API has given it, and
// weakens tags, as proxies do that compress.
async function withLostAnswers(lose: string[], action: () => Promise<void>): Promise<void> {
  const proxy = createServer((asked, answer) => {
    const { method, headers, url } = asked;
    const onward = forward(API_URL + url, { method, headers }, (given) => {
      const lost = lose.indexOf(method ?? "");
      if (lost >= 0) {
        lose.splice(lost, 1);
        given.resume().on("end", () => answer.destroy());
      } else {
        const weak = given.headers.etag && { etag: `W/${given.headers.etag}` };
        answer.writeHead(given.statusCode ?? 500, { ...given.headers, ...weak });
        given.pipe(answer);
      }
    });
    asked.pipe(onward);
  });
  await new Promise<void>((resume) => proxy.listen(0, "127.0.0.1", resume));
  client.setConfig({ baseUrl: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` });
  try {
    await action();
    assert.deepEqual(lose, []);
  } finally {
    client.setConfig({ baseUrl: API_URL });
    proxy.closeAllConnections();
    proxy.close();
  }
}

// Never called: it compiles, and that is the test. Every documented error is typed, by its status.
export function errorsAreTyped(
  list: ListTasksErrors, create: CreateTaskErrors, get: GetTaskErrors,
  update: UpdateTaskErrors, remove: DeleteTaskErrors, complete: CompleteTaskErrors,
): { details: ErrorResponse[]; fields: FieldError[]; sentence: string } {
  const details: ErrorResponse[] = [list[401], list[403], list[503], create[413], create[415], get[404], update[412], remove[412], complete[412], complete[500]];
  const fields: FieldError[] = [...create[422].errors, ...update[422].errors];
  // @ts-expect-error: a list has no 404
  list[404];
  // @ts-expect-error: a 404 has no errors
  get[404].errors;
  return { details, fields, sentence: create[422].detail };
}

export async function argumentsAreTyped(): Promise<Task | undefined> {
  // @ts-expect-error: the title is a text
  await createTask({ path: { user_id: "alice" }, body: { title: 1 } });
  // @ts-expect-error: nothing is called done
  await listTasks({ path: { user_id: "alice" }, query: { status: "done" } });
  // @ts-expect-error: the id of the task is missing
  await deleteTask({ path: { user_id: "alice" } });
  return (await getTask({ path: { user_id: "alice", task_id } })).data;
}

await step("health needs no task and no user", async () => {
  assert.equal((await getHealth({ throwOnError: true })).data.status, "ok");
  assert.equal((await getReadiness({ throwOnError: true })).data.status, "ok");
});

await step("the expired token was changed for a new one, once", async () => {
  assert.equal(await me(), USER_ID);
  assert.equal(fetched, 1);
  assert.deepEqual((await listTasks({ path: { user_id: USER_ID }, throwOnError: true })).data, []);
  assert.equal(fetched, 2);
});

let first: Task;
await step("create, list, get", async () => {
  first = await addTask("  Milk 🥛 ");
  assert.equal(first.title, "Milk 🥛");
  const { data } = await listTasks({ path: { user_id: USER_ID }, throwOnError: true });
  assert.deepEqual(data, [first]);
  assert.deepEqual((await readTask(first.id)).task, first);
});

await step("edit with If-Match, and a conflict that overwrites nothing", async () => {
  const mine = await readTask(first.id);
  const theirs = await readTask(first.id);
  const kept = await saveTask(theirs, { description: "Two litres" });
  assert.ok("saved" in kept);
  const lost = await saveTask(mine, { title: "Bread" });
  assert.ok("conflict" in lost);
  assert.deepEqual(lost.conflict, kept.saved);
  assert.ok("saved" in (await saveTask(lost.conflict, { title: "Bread", description: null })));
});

await step("a lost answer: sent again by itself, created once, toggled once", async () => {
  await withLostAnswers(["POST", "PATCH"], async () => {
    const tea = await addTask("Tea");
    assert.equal((await toggleTask(tea.id)).completed, true);
    const { data } = await listTasks({ path: { user_id: USER_ID }, query: { q: "tea" }, throwOnError: true });
    assert.deepEqual(data.map((task) => task.completed), [true]);
    assert.ok("saved" in (await saveTask(await readTask(tea.id), { title: "Green tea" })));
  });
});

await step("the same key for the same request gives the first answer, for another a 422", async () => {
  const once = { path: { user_id: USER_ID, task_id: first.id }, headers: { "Idempotency-Key": "toggle-1" }, throwOnError: true as const };
  const answers = [await completeTask(once), await completeTask(once)];
  assert.deepEqual(answers.map(({ data }) => data.completed), [true, true]);
  await refused(422, completeTask({ ...once, body: { completed: false } }));
  assert.equal((await completeTask({ ...once, headers: {}, body: { completed: false } })).data.completed, false);
});

await step("paging", async () => {
  for (let number = 1; number <= 45; number += 1) await addTask(`Page ${number}`, `page-${number}`);
  const sizes: number[] = [], seen = new Set<number>();
  let cursor: string | undefined;
  do {
    const { tasks, next } = await readPage(cursor);
    sizes.push(tasks.length);
    for (const task of tasks) seen.add(task.id);
    cursor = next;
  } while (cursor);
  assert.deepEqual(sizes, [20, 20, 6]);
  assert.equal(seen.size, 46);
  const counted = await listTasks({ path: { user_id: USER_ID }, query: { limit: 1, count: true }, throwOnError: true });
  assert.equal(counted.response.headers.get("x-total-count"), "47");
});

await step("delete, and then there is nothing", async () => {
  const path = { user_id: USER_ID, task_id: first.id };
  assert.equal((await refused(412, deleteTask({ path, headers: { "If-Match": '"1"' }, throwOnError: true }))).errors.length, 0);
  const { response } = await deleteTask({ path, throwOnError: true });
  assert.equal(response.status, 204);
  await refused(404, getTask({ path, throwOnError: true }));
});

await step("every error has its status and a sentence", async () => {
  const path = { user_id: USER_ID, task_id };
  await refused(403, listTasks({ path: { user_id: "somebody else" }, throwOnError: true }));
  await refused(404, updateTask({ path, body: { title: "Milk" }, throwOnError: true }));
  const { errors } = await refused(422, createTask({ path, body: { title: " " }, throwOnError: true }));
  assert.deepEqual(errors.map(({ loc }) => loc), [["body", "title"]]);
  await refused(413, createTask({ path, body: { title: "Milk", description: "x".repeat(70_000) }, throwOnError: true }));
  await refused(415, createTask({ path, body: { title: "Milk" }, headers: { "Content-Type": "text/plain" }, throwOnError: true }));
});

await step("without throwOnError the error is a value: always a sentence, and only an answer has a status", async () => {
  const { data, error, response } = await getTask({ path: { user_id: USER_ID, task_id } });
  assert.equal(data, undefined);
  assert.ok(error instanceof ApiError);
  assert.equal(response.status, 404);
});

await step("a database that is away: 503 with Retry-After, until the patience ends", async () => {
  client.setConfig({ baseUrl: AWAY_URL });
  let tries = 0;
  const send = () => {
    tries += 1;
    return listTasks({ path: { user_id: USER_ID }, throwOnError: true });
  };
  const { retryAfter } = await refused(503, send());
  assert.ok(retryAfter && retryAfter >= 1, String(retryAfter));
  tries = 0;
  await refused(503, withRetries(send));
  assert.equal(tries, 4);
  client.setConfig({ baseUrl: API_URL });
});

await step("no server at all: a TypeError, as fetch gives it", async () => {
  client.setConfig({ baseUrl: "http://127.0.0.1:9" });
  await assert.rejects(listTasks({ path: { user_id: USER_ID }, throwOnError: true }), TypeError);
  client.setConfig({ baseUrl: API_URL });
});

await step("two refused tokens, and then none: 401", async () => {
  forgetToken();
  const { message } = await refused(401, listTasks({ path: { user_id: USER_ID }, throwOnError: true }));
  assert.equal(message, "The token is invalid.");
  assert.equal(fetched, 4);
  forgetToken();
  assert.equal((await refused(401, listTasks({ path: { user_id: USER_ID }, throwOnError: true }))).message, "Sign in again.");
});

console.log("done");
