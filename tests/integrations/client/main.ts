// Uses the generated client and the files that docs/client.md shows with running APIs, and prints each step.
//
// Environment: API_URL; UNAVAILABLE_URL, an API whose database is unavailable; USER_ID; TOKENS, in the order in which
// they are fetched: one expired, one valid, two with invalid signatures. Exits 1 at the first failed expectation.
import assert from "node:assert/strict";
import { createServer, request as forward } from "node:http";
import type { AddressInfo } from "node:net";
import { ApiError } from "./lib/api-error";
import { fetched } from "./lib/fetch-token";
import { readTask, saveTask } from "./lib/edit";
import { readPage } from "./lib/pages";
import { addTask, toggleTask } from "./lib/repeat";
import { withRetries } from "./lib/retry";
import {
  completeTask, createTask, deleteTask, getHealth, getReadiness, getTask, listTasks, me, updateTask,
  type CompleteTaskErrors, type CreateTaskErrors, type DeleteTaskErrors, type ErrorResponse, type FieldError,
  type GetTaskErrors, type ListTasksErrors, type Task, type UpdateTaskErrors,
} from "./lib/task-client";
import { client } from "./lib/client/client.gen";
import { forgetToken } from "./lib/token";

const { API_URL = "", UNAVAILABLE_URL = "", USER_ID = "" } = process.env;
const task_id = 2_000_000_000;

async function step(what: string, action: () => Promise<void>): Promise<void> {
  await action();
  console.log(`ok  ${what}`);
}

async function expectError(status: number, action: Promise<unknown>): Promise<ApiError> {
  const error = await action.then(() => assert.fail(`succeeded instead of failing with ${status}`), (reason: unknown) => reason);
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, status, error.message);
  assert.match(error.message, /^\S.*\S$/);
  return error;
}

// Runs a proxy between the client and the API. It drops the first response to each method of `lose` and makes ETags weak,
// as compressing proxies do.
async function withLostResponses(lose: string[], action: () => Promise<void>): Promise<void> {
  const proxy = createServer((incoming, outgoing) => {
    const { method, headers, url } = incoming;
    const forwarded = forward(API_URL + url, { method, headers }, (received) => {
      const lost = lose.indexOf(method ?? "");
      if (lost >= 0) {
        lose.splice(lost, 1);
        received.resume().on("end", () => outgoing.destroy());
      } else {
        const weak = received.headers.etag && { etag: `W/${received.headers.etag}` };
        outgoing.writeHead(received.statusCode ?? 500, { ...received.headers, ...weak });
        received.pipe(outgoing);
      }
    });
    incoming.pipe(forwarded);
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

// These two functions are only compiled. Every documented error is typed by its status.
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
  // @ts-expect-error: the title is a string
  await createTask({ path: { user_id: "alice" }, body: { title: 1 } });
  // @ts-expect-error: `done` is not a status
  await listTasks({ path: { user_id: "alice" }, query: { status: "done" } });
  // @ts-expect-error: the id of the task is missing
  await deleteTask({ path: { user_id: "alice" } });
  return (await getTask({ path: { user_id: "alice", task_id } })).data;
}

await step("health checks need no token", async () => {
  assert.equal((await getHealth({ throwOnError: true })).data.status, "ok");
  assert.equal((await getReadiness({ throwOnError: true })).data.status, "ok");
});

await step("an expired token is replaced once", async () => {
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
  const accepted = await saveTask(theirs, { description: "Two litres" });
  assert.ok("saved" in accepted);
  const rejected = await saveTask(mine, { title: "Bread" });
  assert.ok("conflict" in rejected);
  assert.deepEqual(rejected.conflict, accepted.saved);
  assert.ok("saved" in (await saveTask(rejected.conflict, { title: "Bread", description: null })));
});

await step("lost responses: requests are retried, and take effect once", async () => {
  await withLostResponses(["POST", "PATCH"], async () => {
    const tea = await addTask("Tea");
    assert.equal((await toggleTask(tea.id)).completed, true);
    const { data } = await listTasks({ path: { user_id: USER_ID }, query: { q: "tea" }, throwOnError: true });
    assert.deepEqual(data.map((task) => task.completed), [true]);
    assert.ok("saved" in (await saveTask(await readTask(tea.id), { title: "Green tea" })));
  });
});

await step("a repeated key returns the first response, or 422 if the request differs", async () => {
  const once = { path: { user_id: USER_ID, task_id: first.id }, headers: { "Idempotency-Key": "toggle-1" }, throwOnError: true as const };
  const responses = [await completeTask(once), await completeTask(once)];
  assert.deepEqual(responses.map(({ data }) => data.completed), [true, true]);
  await expectError(422, completeTask({ ...once, body: { completed: false } }));
  assert.equal((await completeTask({ ...once, headers: {}, body: { completed: false } })).data.completed, false);
});

await step("paging", async () => {
  for (let number = 1; number <= 45; number += 1) await addTask(`Page ${number}`, `page-${number}`);
  const sizes: number[] = [], ids = new Set<number>();
  let cursor: string | undefined;
  do {
    const { tasks, next } = await readPage(cursor);
    sizes.push(tasks.length);
    for (const task of tasks) ids.add(task.id);
    cursor = next;
  } while (cursor);
  assert.deepEqual(sizes, [20, 20, 6]);
  assert.equal(ids.size, 46);
  const counted = await listTasks({ path: { user_id: USER_ID }, query: { limit: 1, count: true }, throwOnError: true });
  assert.equal(counted.response.headers.get("x-total-count"), "47");
});

await step("a deleted task is not found", async () => {
  const path = { user_id: USER_ID, task_id: first.id };
  assert.equal((await expectError(412, deleteTask({ path, headers: { "If-Match": '"1"' }, throwOnError: true }))).errors.length, 0);
  const { response } = await deleteTask({ path, throwOnError: true });
  assert.equal(response.status, 204);
  await expectError(404, getTask({ path, throwOnError: true }));
});

await step("every error has its status and a message", async () => {
  const path = { user_id: USER_ID, task_id };
  await expectError(403, listTasks({ path: { user_id: "somebody else" }, throwOnError: true }));
  await expectError(404, updateTask({ path, body: { title: "Milk" }, throwOnError: true }));
  const { errors } = await expectError(422, createTask({ path, body: { title: " " }, throwOnError: true }));
  assert.deepEqual(errors.map(({ loc }) => loc), [["body", "title"]]);
  await expectError(413, createTask({ path, body: { title: "Milk", description: "x".repeat(70_000) }, throwOnError: true }));
  await expectError(415, createTask({ path, body: { title: "Milk" }, headers: { "Content-Type": "text/plain" }, throwOnError: true }));
});

await step("without throwOnError the error is a value with the status of the response", async () => {
  const { data, error, response } = await getTask({ path: { user_id: USER_ID, task_id } });
  assert.equal(data, undefined);
  assert.ok(error instanceof ApiError);
  assert.equal(response.status, 404);
});

await step("an unavailable database: 503 with Retry-After, four attempts", async () => {
  client.setConfig({ baseUrl: UNAVAILABLE_URL });
  let attempts = 0;
  const send = () => {
    attempts += 1;
    return listTasks({ path: { user_id: USER_ID }, throwOnError: true });
  };
  const { retryAfter } = await expectError(503, send());
  assert.ok(retryAfter && retryAfter >= 1, String(retryAfter));
  attempts = 0;
  await expectError(503, withRetries(send));
  assert.equal(attempts, 4);
  client.setConfig({ baseUrl: API_URL });
});

await step("an unreachable server: the TypeError of fetch", async () => {
  client.setConfig({ baseUrl: "http://127.0.0.1:9" });
  await assert.rejects(listTasks({ path: { user_id: USER_ID }, throwOnError: true }), TypeError);
  client.setConfig({ baseUrl: API_URL });
});

await step("two rejected tokens, then no token: 401", async () => {
  forgetToken();
  const { message } = await expectError(401, listTasks({ path: { user_id: USER_ID }, throwOnError: true }));
  assert.equal(message, "The token is invalid.");
  assert.equal(fetched, 4);
  forgetToken();
  assert.equal((await expectError(401, listTasks({ path: { user_id: USER_ID }, throwOnError: true }))).message, "Sign in again.");
});

console.log("done");
