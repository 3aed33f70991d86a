// Uses lib/offline.ts with a running API through a proxy that can be unreachable or lose responses.
//
// Environment: API_URL; PORT, of the proxy; TASKS_API_URL, of the proxy; TOKENS. Exits 1 at the first failed
// expectation.
import assert from "node:assert/strict";
import { createServer, request as forward } from "node:http";
import { createTask, deleteTask, editTask, listTasks } from "./lib/tasks";
import { openTasks } from "./lib/offline";

const stored = new Map<string, string>();
Object.assign(globalThis, {
  localStorage: {
    getItem: (name: string) => stored.get(name) ?? null,
    setItem: (name: string, value: string) => void stored.set(name, value),
  },
});

const { API_URL = "", PORT = "" } = process.env;
let online = true;
const lose: string[] = []; // methods whose next response is lost

const proxy = createServer((incoming, outgoing) => {
  if (!online) return void incoming.destroy();
  const { method = "", headers, url } = incoming;
  const forwarded = forward(API_URL + url, { method, headers }, (received) => {
    const lost = lose.indexOf(method);
    if (lost >= 0) {
      lose.splice(lost, 1);
      received.resume().on("end", () => outgoing.destroy());
    } else {
      outgoing.writeHead(received.statusCode ?? 500, received.headers);
      received.pipe(outgoing);
    }
  });
  incoming.pipe(forwarded);
});
await new Promise<void>((resume) => proxy.listen(Number(PORT), "127.0.0.1", resume));

async function step(what: string, action: () => Promise<void>): Promise<void> {
  await action();
  console.log(`ok  ${what}`);
}

const titles = (tasks: { title: string }[]) => tasks.map(({ title }) => title).sort();
const named = (title: string) => {
  const task = phone.list().find((each) => each.title === title);
  assert.ok(task, title);
  return task;
};
// Two devices of one user.
let phone = openTasks("phone");
const laptop = openTasks("laptop");

async function expectEqual(): Promise<void> {
  const server = await listTasks();
  const byId = (one: { id: number }, other: { id: number }) => one.id - other.id;
  assert.deepEqual(phone.list().sort(byId), server.sort(byId));
}

await step("changes without a connection are kept, also after the page is loaded again", async () => {
  online = false;
  phone.add({ title: "Milk" });
  phone.add({ title: "Bread", tags: ["home"] });
  phone.add({ title: "Tea" });
  phone.edit(named("Milk").id, { completed: true });
  phone.remove(named("Tea").id);
  await assert.rejects(phone.sync(), TypeError);
  phone = openTasks("phone");
  assert.deepEqual(titles(phone.list()), ["Bread", "Milk"]);
  assert.equal(named("Milk").completed, true);
});

await step("with a connection they are sent in order", async () => {
  online = true;
  assert.deepEqual(await phone.sync(), []);
  await expectEqual();
  assert.deepEqual(titles(phone.list()), ["Bread", "Milk"]);
  assert.equal(named("Milk").completed, true);
});

await step("a lost response: the change is sent again and takes effect once", async () => {
  for (const method of ["POST", "PATCH", "DELETE"]) {
    if (method === "POST") phone.add({ title: "Rice" });
    if (method === "PATCH") phone.edit(named("Rice").id, { title: "Brown rice" });
    if (method === "DELETE") phone.remove(named("Brown rice").id);
    lose.push(method);
    await assert.rejects(phone.sync(), TypeError);
    assert.deepEqual(lose, []);
    assert.deepEqual(await phone.sync(), []);
    await expectEqual();
  }
  assert.deepEqual(titles(phone.list()), ["Bread", "Milk"]);
});

await step("two changes of one task, and none of them conflicts with the other", async () => {
  phone.edit(named("Bread").id, { title: "Rye bread" });
  phone.edit(named("Rye bread").id, { priority: "high" });
  assert.deepEqual(await phone.sync(), []);
  await expectEqual();
});

await step("a change from elsewhere is not overwritten", async () => {
  await laptop.sync();
  const { id } = named("Milk");
  laptop.edit(id, { title: "Oat milk" });
  assert.deepEqual(await laptop.sync(), []);
  phone.edit(id, { title: "Soy milk" });
  const [refused, ...others] = await phone.sync();
  assert.deepEqual(others, []);
  assert.equal(refused?.error.status, 412);
  assert.deepEqual(refused?.change.body, { title: "Soy milk" });
  assert.equal(named("Oat milk").id, id);
  await expectEqual();
});

await step("an invalid task is refused, with the changes that depend on it", async () => {
  phone.add({ title: "x".repeat(201) });
  phone.edit(named("x".repeat(201)).id, { completed: true });
  const refused = await phone.sync();
  assert.deepEqual(refused.map(({ error }) => error.status), [422]);
  await expectEqual();
});

await step("tasks that were deleted elsewhere go, and changes of them are refused", async () => {
  const { id } = await createTask({ title: "Jam" });
  await phone.sync();
  await deleteTask(id);
  phone.edit(id, { completed: true });
  assert.deepEqual((await phone.sync()).map(({ error }) => error.status), [404]);
  await expectEqual();
});

await step("several pages, while tasks change", async () => {
  for (let number = 0; number < 505; number += 1) await createTask({ title: `Task ${number}` });
  const other = openTasks("another device");
  await Promise.all([other.sync(), editTask(named("Oat milk").id, { completed: false })]);
  await other.sync();
  phone = other;
  await expectEqual();
});

await step("a position that the server refuses: all tasks are read again", async () => {
  const name = "tasks of another device";
  const { id } = named("Rye bread");
  stored.set(name, stored.get(name)?.replace(/"since":"...../, '"since":"AAAAA') ?? "");
  phone = openTasks("another device");
  await deleteTask(id);
  assert.deepEqual(await phone.sync(), []);
  await expectEqual();
});

console.log("done");
proxy.closeAllConnections();
proxy.close();
