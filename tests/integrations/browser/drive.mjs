// Drives headless Chromium through the test page as users would, and prints each step with its requests.
//
// Environment: APP_URL (Better Auth and the page), API_URL, CHROMIUM (path of the browser),
// TOKEN_PATH (where the page gets its tokens). Exits 1 at the first thing that is not as it should be.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../better_auth/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const { APP_URL, API_URL, CHROMIUM, TOKEN_PATH } = process.env;

const password = "a-password-of-a-test";
const alice = { name: "Zoë 🙂", email: "alice@example.com", password };
const bob = { name: "Bob", email: "bob@example.com", password };
const pages = [];
const problems = [];

// Runs in each page before its scripts: records the method, URL and status of each request, in order.
function recordCalls() {
  const originalFetch = window.fetch;
  window.calls = [];
  window.fetch = async (input, options) => {
    const request = new Request(input, options);
    const response = await originalFetch(input, options);
    window.calls.push({ method: request.method, url: request.url, status: response.status });
    return response;
  };
}

async function openPage(context) {
  const page = await context.newPage();
  await page.addInitScript(recordCalls);
  page.on("pageerror", (error) => problems.push(error.message));
  pages.push(page);
  return page;
}

const callsOf = (page) => page.evaluate(() => window.calls ?? []);
const statusesOfApi = async (page) => (await callsOf(page)).filter((call) => call.url.startsWith(API_URL)).map((call) => call.status);
const tokenRequests = async (page) => (await callsOf(page)).filter((call) => call.url === APP_URL + TOKEN_PATH).length;

async function printCalls() {
  for (const page of pages) {
    for (const { method, url, status } of await callsOf(page)) {
      const server = url.startsWith(API_URL) ? "API        " : "Better Auth";
      const path = url.replace(API_URL, "").replace(APP_URL, "").replace(/^\/api\/[^/]{20,}\//, "/api/{user_id}/");
      console.log(`      ${server}  ${method} ${path} ${status}`);
    }
    await page.evaluate(() => (window.calls = []));
  }
}

async function step(what, action) {
  await action();
  console.log(`ok  ${what}`);
  await printCalls();
}

async function setClock(seconds) {
  const response = await fetch(`${APP_URL}/fixture/clock`, { method: "POST", body: JSON.stringify({ seconds }) });
  assert.equal(response.status, 204);
}

async function waitForMessage(page, text) {
  await page.locator("#message").filter({ hasText: text }).waitFor({ timeout: 60_000 });
}

async function enter(page, button, person) {
  for (const [name, value] of Object.entries(person)) await page.locator(`#account [name=${name}]`).fill(value);
  await page.getByRole("button", { name: button, exact: true }).click();
  await waitForMessage(page, `${button}: done`);
  assert.equal(await page.locator("#who").textContent(), person.email);
}

async function click(page, name, outcome = `${name}: done`) {
  await page.getByRole("button", { name, exact: true }).click();
  await waitForMessage(page, outcome);
}

async function add(page, title, outcome = "Add: done") {
  await page.locator("#new [name=title]").fill(title);
  await click(page, "Add", outcome);
}

const titles = (page) => page.locator("#tasks li > input:not([type=checkbox])").evaluateAll((inputs) => inputs.map((input) => input.value));

// The next token that the page fetches has expired. The one after it is valid.
async function expireNextToken(page) {
  await setClock(-3600);
  await page.route(`**${TOKEN_PATH}`, async (route) => {
    const response = await route.fetch();
    await setClock(0);
    await route.fulfill({ response });
  }, { times: 1 });
  await page.evaluate(() => window.forgetToken());
}

async function openForeignPage(context, host) {
  const server = createServer((_, response) => response.setHeader("content-type", "text/html").end("<title>Foreign</title>"));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref(); // or the process would not end after a failed step
  const page = await context.newPage();
  await page.goto(`http://${host}:${server.address().port}/`);
  return { page, close: async () => { await page.close(); server.close(); } };
}

const tryFetch = (page, url, options) =>
  page.evaluate(async ([url, options]) => {
    try {
      const response = await fetch(url, options);
      return `read ${response.status}: ${await response.text()}`;
    } catch (error) {
      return error.name;
    }
  }, [url, options]);

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP foreign.test 127.0.0.1",
  ],
});
try {
  console.log(`Chromium ${browser.version()}; page and Better Auth on ${APP_URL}, API on ${API_URL}`);
  const context = await browser.newContext();
  const page = await openPage(context);
  await page.clock.install();
  await page.goto(APP_URL);

  await step("Alice signs up; the page lists her tasks from the other origin", async () => {
    await enter(page, "Sign up", alice);
    assert.deepEqual(await titles(page), []);
    assert.equal(await tokenRequests(page), 1);
  });

  await step("she adds three tasks with the same token", async () => {
    for (const title of ["Milk", "Bread", "Tea"]) await add(page, title);
    assert.equal(await tokenRequests(page), 0);
  });

  await step("she toggles, edits (with the ETag) and deletes a task", async () => {
    await page.locator("#tasks li").nth(0).getByRole("checkbox").click();
    await waitForMessage(page, "Toggle: done");
    const second = page.locator("#tasks li").nth(1);
    await second.locator("input").nth(1).fill("Brown bread");
    await second.getByRole("button", { name: "Save" }).click();
    await waitForMessage(page, "Save: done");
    await page.locator("#tasks li").nth(2).getByRole("button", { name: "Delete" }).click();
    await waitForMessage(page, "Delete: done");
    await click(page, "Reload");
    assert.deepEqual(await titles(page), ["Milk", "Brown bread"]);
    assert.equal(await page.locator("#tasks li").nth(0).getByRole("checkbox").isChecked(), true);
    assert.equal(await page.locator("#tasks li").nth(1).getByRole("checkbox").isChecked(), false);
  });

  await step("the token is not in localStorage, sessionStorage or cookies", async () => {
    const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie);
    assert.ok(!stored.includes("eyJ"), stored);
  });

  await step("a token that is about to expire is refreshed before its use", async () => {
    await page.clock.fastForward("14:45");
    await click(page, "Reload");
    assert.equal(await tokenRequests(page), 1);
    assert.deepEqual(await statusesOfApi(page), [200]);
  });

  await step("an expired token causes one 401 and one refresh, and no error on the page", async () => {
    await expireNextToken(page);
    await click(page, "Reload");
    assert.deepEqual(await titles(page), ["Milk", "Brown bread"]);
    assert.deepEqual(await statusesOfApi(page), [401, 200]);
    assert.equal(await tokenRequests(page), 2);
  });

  await step("six concurrent calls with an expired token share one refresh", async () => {
    await expireNextToken(page);
    const lists = await page.evaluate(() => Promise.all([1, 2, 3, 4, 5, 6].map(() => window.tasks.listTasks())));
    assert.deepEqual(lists.map((list) => list.length), [2, 2, 2, 2, 2, 2]);
    assert.deepEqual((await statusesOfApi(page)).sort(), [...Array(6).fill(200), ...Array(6).fill(401)]);
    assert.equal(await tokenRequests(page), 2);
  });

  await step("if the new token is rejected too, the page does not retry again", async () => {
    await setClock(-3600);
    await page.evaluate(() => window.forgetToken());
    await click(page, "Reload", "Reload: failed 401");
    assert.deepEqual(await statusesOfApi(page), [401, 401]);
    assert.equal(await tokenRequests(page), 2);
    await setClock(0);
    await click(page, "Reload");
  });

  await step("pages of other origins cannot read or change her tasks, or get a token", async () => {
    const token = await page.evaluate(async (path) => (await (await fetch(path)).json()).token, TOKEN_PATH);
    const { sub } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
    const authorization = `Bearer ${token}`;
    const tasks = `${API_URL}/api/${sub}/tasks`;
    // The cookies are same-site for the other port, but not for the other host.
    for (const host of ["127.0.0.1", "foreign.test"]) {
      const foreign = await openForeignPage(context, host);
      const write = { method: "POST", headers: { authorization, "content-type": "application/json" }, body: '{"title":"Foreign"}' };
      assert.equal(await tryFetch(foreign.page, tasks, { headers: { authorization } }), "TypeError");
      assert.equal(await tryFetch(foreign.page, tasks, write), "TypeError");
      assert.equal(await tryFetch(foreign.page, `${APP_URL}${TOKEN_PATH}`, { credentials: "include" }), "TypeError");
      await foreign.close();
    }
    // The same request succeeds from her page: only the origin differs.
    assert.match(await tryFetch(page, tasks, { headers: { authorization } }), /^read 200/);
    await click(page, "Reload");
    assert.deepEqual(await titles(page), ["Milk", "Brown bread"]);
  });

  const tab = await openPage(context);
  await step("Bob signs up in another tab of the same browser and gets none of her tasks", async () => {
    await tab.goto(APP_URL);
    await enter(tab, "Sign up", bob);
    assert.deepEqual(await titles(tab), []);
  });

  await step("after its token has expired, Alice's tab does not change Bob's tasks", async () => {
    await page.clock.fastForward("15:00");
    await add(page, "Hers", "Add: failed 401: Another user signed in");
    assert.deepEqual(await statusesOfApi(page), []);
    await click(tab, "Reload");
    assert.deepEqual(await titles(tab), []);
  });

  await step("Bob deletes his account; his unexpired token gets a 403, which is not retried", async () => {
    const deletion = await context.request.post(`${APP_URL}/api/auth/delete-user`, { data: { password }, headers: { origin: APP_URL } });
    assert.equal(deletion.status(), 200);
    await add(tab, "After deletion", "Add: failed 403");
    assert.deepEqual(await statusesOfApi(tab), [403]);
    assert.equal(await tokenRequests(tab), 0);
    console.log(`    ${await tab.locator("#message").textContent()}`);
  });

  await step("Alice signs in again and gets her tasks", async () => {
    await enter(page, "Sign in", alice);
    assert.deepEqual(await titles(page), ["Milk", "Brown bread"]);
  });

  await step("she signs out; the page requires a sign-in before it calls the API", async () => {
    await click(page, "Sign out");
    await click(page, "Reload", "Reload: failed 401: Sign in again.");
    assert.deepEqual(await statusesOfApi(page), []);
  });

  assert.deepEqual(problems, []);
  console.log("done");
} catch (error) {
  console.log(`FAILED: ${error.stack}`);
  await printCalls();
  process.exitCode = 1;
} finally {
  await browser.close();
}
