// Drives headless Chromium through examples/nextjs as a person would, and prints each step with its time.
//
// Environment: APP_URL and DEMO_URL (the page, without and with DEMO=1), PROXY_URL (the API's address in the page, served
// here), API_URL, SECRET (signs tokens), CHROMIUM (path of the browser), SCREENSHOTS (a folder, or empty).
// Exits 1 at the first thing that is not as it should be.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, request as forward } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../better_auth/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core"), "utf8");
const { APP_URL, DEMO_URL, PROXY_URL, API_URL, SECRET, CHROMIUM, SCREENSHOTS } = process.env;

const STEP_SECONDS = 90;
const password = "a-password-of-a-test";
const requests = []; // to the API, in order: method, path, key, status
let lose = []; // methods: the next response to each is dropped, after the API has applied the request
let refuse = []; // methods: the next request of each is answered with 422

// Between the page and the API.
const proxy = createServer((incoming, outgoing) => {
  const { method, headers, url } = incoming;
  const record = { method, url, key: headers["idempotency-key"], status: 0, body: "" };
  if (method !== "OPTIONS") requests.push(record);
  incoming.on("data", (part) => (record.body += part));
  const taken = (methods) => {
    const index = methods.indexOf(method);
    return index >= 0 && methods.splice(index, 1).length === 1;
  };
  if (taken(refuse)) {
    const cors = { "access-control-allow-origin": headers.origin ?? "*" };
    incoming.resume().on("end", () => outgoing.writeHead(422, { ...cors, "content-type": "application/json", connection: "close" }).end('{"detail": "Refused by the test."}'));
    return;
  }
  const forwarded = forward(API_URL + url, { method, headers }, (received) => {
    record.status = received.statusCode;
    if (taken(lose)) return received.resume().on("end", () => outgoing.destroy());
    // Chromium itself repeats a request whose response is lost on a connection that it has used before.
    outgoing.writeHead(received.statusCode, { ...received.headers, connection: "close" });
    received.pipe(outgoing);
  });
  forwarded.on("error", () => outgoing.destroy());
  incoming.pipe(forwarded);
});
await new Promise((resume) => proxy.listen(Number(new URL(PROXY_URL).port), "127.0.0.1", resume));

const began = Date.now();
let stepBegan = began;
async function step(what, action) {
  stepBegan = Date.now();
  const tooLong = setTimeout(() => {
    console.log(`This step has not ended after ${STEP_SECONDS} s: ${what}`);
    process.exit(1);
  }, 1000 * STEP_SECONDS);
  await action().finally(() => clearTimeout(tooLong));
  console.log(`ok  ${((Date.now() - stepBegan) / 1000).toFixed(1).padStart(5)} s  ${what}`);
}

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP foreign.test 127.0.0.1",
  ],
});

const problems = [];
const pages = [];
async function openPage(context, url = APP_URL) {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => problems.push(`${error.stack}`));
  page.on("console", (message) => message.text().includes("Content Security Policy") && problems.push(message.text()));
  page.on("response", (response) => response.status() === 404 && new URL(response.url()).origin === url && problems.push(`${response.url()} is 404`));
  page.on("request", (request) => {
    const { origin } = new URL(request.url());
    if (![url, PROXY_URL].includes(origin) && origin !== "null") problems.push(`The page called ${request.url()}`);
  });
  await page.addInitScript(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts.push([entry.value, ...entry.sources.map(({ node }) => node?.outerHTML?.slice(0, 80))]);
    }).observe({ type: "layout-shift", buffered: true });
  });
  pages.push(page);
  await page.goto(url);
  return page;
}

const findings = new Map();
let checked = 0;
async function checkAccessibility(page, state) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
    const violations = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ["violations"] })).violations);
    checked += 1;
    for (const { id, impact, nodes } of violations) findings.set(`${id} (${impact}) in ${state}, ${colorScheme}`, nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`)[0]);
  }
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width[0] <= width[1], `${state}: the page is ${width[0]} pixels wide in a window of ${width[1]}`);
}

const button = (within, name) => within.getByRole("button", { name, exact: true });
const row = (page, title) => page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: title, exact: true }) });
const titles = (page) => page.locator(".tasks h2").allTextContents();
const shows = (page, title) => row(page, title).waitFor();
const hides = (page, title) => row(page, title).waitFor({ state: "detached" });
const notice = (page, text) => page.locator(".notice").filter({ hasText: text }).waitFor();
// A change is saved when its row is not busy, and has an id of the server.
const saved = (page, title) => row(page, title).and(page.locator('[aria-busy="false"]')).waitFor();
const since = (mark, method, part = "") => requests.slice(mark).filter((each) => each.method === method && each.url.includes(part));

async function signUp(page, name, email) {
  await button(page, "Create an account").click();
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(password);
  await button(page, "Sign up").click();
  await page.getByRole("heading", { name: "Tasks", exact: true }).and(page.locator("header h1")).waitFor();
}

async function add(page, title) {
  await page.getByLabel("Title of the new task").fill(title);
  await button(page, "Add").click();
  await saved(page, title);
}

// Calls the API as the user of the token, and returns the body.
async function asUser(token, method, path, body) {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(`${API_URL}/api/tasks${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.status === 204 ? null : response.json();
}

async function tokenOf(page) {
  return (await (await page.context().request.get(`${APP_URL}/api/auth/token`)).json()).token;
}

function changed(token, claims) {
  const [header, body] = token.split(".");
  const payload = { ...JSON.parse(Buffer.from(body, "base64url").toString()), ...claims };
  const signed = `${header}.${Buffer.from(JSON.stringify(payload)).toString("base64url")}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
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

try {
  console.log(`Chromium ${browser.version()}`);
  const phone = { viewport: { width: 390, height: 844 }, timezoneId: "Asia/Karachi", locale: "en-GB" };
  const context = await browser.newContext(phone);
  const page = await openPage(context);
  let token;

  await step("she signs up and finds an empty list", async () => {
    await checkAccessibility(page, "sign in");
    await signUp(page, "Zoë", "zoe@example.com");
    await page.getByText("Nothing to do.").waitFor();
    await checkAccessibility(page, "an empty list");
    token = await tokenOf(page);
  });

  await step("with the keyboard alone she adds a task with a priority, a due time and tags", async () => {
    await page.getByLabel("Title of the new task").focus();
    await page.keyboard.type("Call the plumber");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Space");
    await page.getByRole("form", { name: "New task" }).getByLabel("Priority").focus();
    await page.keyboard.type("High");
    await page.getByRole("form", { name: "New task" }).getByLabel("Due").fill("2036-12-24");
    await page.getByRole("form", { name: "New task" }).getByLabel("Time").fill("18:30");
    await page.getByRole("form", { name: "New task" }).getByLabel("Tags").fill("home, urgent, home");
    await page.keyboard.press("Enter");
    await saved(page, "Call the plumber");
    const [stored] = await (await fetch(`${API_URL}/api/tasks`, { headers: { authorization: `Bearer ${token}` } })).json();
    // She is in Karachi, five hours ahead of UTC.
    assert.deepEqual([stored.priority, stored.due_date, stored.tags], ["high", "2036-12-24T13:30:00.000000Z", ["home", "urgent"]]);
    assert.match(await row(page, "Call the plumber").locator(".due").textContent(), /24 Dec 2036, 18:30/);
    await button(page, "Details").click();
  });

  await step("she completes a task, edits another in its place, and closes the editor with Escape", async () => {
    await add(page, "Buy bread");
    await add(page, "Water the plants");
    await row(page, "Water the plants").getByRole("checkbox").click();
    await saved(page, "Water the plants");
    await page.getByRole("button", { name: "Edit: Buy bread" }).click();
    await checkAccessibility(page, "an open editor");
    await page.locator(".editor").getByLabel("Title").fill("Buy brown bread");
    await page.locator(".editor").getByLabel("Description").fill("Two loaves");
    await page.locator(".editor").getByLabel("Due").fill("2036-12-31");
    await page.keyboard.press("Enter");
    await saved(page, "Buy brown bread");
    await page.getByRole("button", { name: "Edit: Buy brown bread" }).and(page.locator(":focus")).waitFor();
    await page.keyboard.press("Enter");
    await page.locator(".editor").waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".editor").waitFor({ state: "detached" });
    await checkAccessibility(page, "a list");
  });

  await step("she filters, searches and orders", async () => {
    const expected = async (...list) => assert.deepEqual(await titles(page), list);
    const reads = async (action) => {
      await Promise.all([page.waitForResponse((response) => response.url().includes("/tasks?")), action()]);
      await page.locator('section[aria-busy="false"]').waitFor();
    };
    await reads(() => button(page, "Open").click());
    await expected("Buy brown bread", "Call the plumber");
    await reads(() => button(page, "Done").click());
    await expected("Water the plants");
    await reads(() => button(page, "All").click());
    await reads(() => page.getByLabel("Search").fill("LOAVES"));
    await expected("Buy brown bread");
    await reads(() => page.getByLabel("Search").fill(""));
    await page.getByLabel("Search").focus();
    await reads(() => page.keyboard.type("buy "));
    await page.keyboard.type("brown");
    assert.equal(await page.getByLabel("Search").inputValue(), "buy brown"); // the space of the pause is kept
    await reads(() => page.getByLabel("Search").fill(""));
    await reads(() => row(page, "Call the plumber").getByRole("button", { name: "Show only home" }).click());
    await expected("Call the plumber");
    await reads(() => page.getByRole("button", { name: "home (remove this filter)" }).click());
    await reads(() => page.getByLabel("Order").selectOption("Due first"));
    await expected("Call the plumber", "Buy brown bread", "Water the plants");
    await reads(() => page.getByRole("search").getByLabel("Priority").selectOption("No priority"));
    await expected("Buy brown bread", "Water the plants");
    await reads(() => page.getByRole("search").getByLabel("Priority").selectOption("Any priority"));
    await reads(() => page.getByLabel("Order").selectOption("Newest first"));
  });

  await step("she deletes a task and takes that back", async () => {
    await page.getByRole("button", { name: "Delete: Water the plants" }).click();
    await hides(page, "Water the plants");
    await notice(page, "Deleted “Water the plants”.");
    await checkAccessibility(page, "a deleted task");
    await button(page, "Undo").click();
    await notice(page, "Restored");
    assert.deepEqual(await titles(page), ["Water the plants", "Buy brown bread", "Call the plumber"]);
    await button(page, "Dismiss").click();
  });

  await step("a lost answer is repeated with the same key: one task", async () => {
    const mark = requests.length;
    lose = ["POST"];
    await page.getByLabel("Title of the new task").fill("Only once");
    await button(page, "Add").click();
    for (const end = Date.now() + 15_000; since(mark, "POST").length < 2; ) {
      assert.ok(Date.now() < end, "The request was not repeated");
      assert.equal((await titles(page)).filter((title) => title === "Only once").length, 1); // the feed brings no second one
      await page.waitForTimeout(20);
    }
    await saved(page, "Only once");
    const posts = since(mark, "POST");
    assert.equal(posts.length, 2);
    assert.ok(posts[0].key && posts[0].key === posts[1].key);
    lose = ["PUT"];
    await row(page, "Only once").getByRole("checkbox").click();
    await saved(page, "Only once");
    assert.ok(await row(page, "Only once").getByRole("checkbox").isChecked());
    lose = ["DELETE"];
    await page.getByRole("button", { name: "Delete: Only once" }).click();
    await notice(page, "Deleted “Only once”.");
    const list = await (await fetch(`${API_URL}/api/tasks`, { headers: { authorization: `Bearer ${token}` } })).json();
    assert.equal(list.length, 3);
  });

  await step("a refused change is shown as it was before", async () => {
    refuse = ["PUT"];
    await row(page, "Buy brown bread").getByRole("checkbox").click();
    await notice(page, "“Buy brown bread” was not changed. Refused by the test.");
    assert.equal(await row(page, "Buy brown bread").getByRole("checkbox").isChecked(), false);
  });

  await step("without a connection for long, all changes can be tried again with the same keys", async () => {
    const mark = requests.length;
    lose = Array(8).fill("POST");
    for (const title of ["Late", "Later"]) {
      await page.getByLabel("Title of the new task").fill(title);
      await button(page, "Add").click();
    }
    await notice(page, /“Late” was not added\. .*“Later” was not added|“Later” was not added\. .*“Late” was not added/);
    await button(page, "Try again").click();
    for (const title of ["Late", "Later"]) await saved(page, title);
    assert.equal(new Set(since(mark, "POST").map(({ key }) => key)).size, 2);
    assert.deepEqual((await titles(page)).filter((title) => title.startsWith("Late")).sort(), ["Late", "Later"]);
    await page.getByRole("button", { name: "Delete: Later" }).click();
    await notice(page, "Deleted “Later”.");
    await button(page, "Dismiss").click();
  });

  await step("an edit keeps what the fields cannot show, and long words fit", async () => {
    const values = { tags: ["a, b", '"quoted"', "W".repeat(50)], due_date: "2036-10-26T01:30:45.500000Z" };
    const { id } = await asUser(token, "POST", "", { title: "W".repeat(200), description: "W".repeat(400), ...values });
    await shows(page, "W".repeat(200));
    await checkAccessibility(page, "long words");
    await page.getByRole("button", { name: "Edit: WW" }).click();
    await page.locator(".editor").getByLabel("Title").fill("Short");
    await page.locator(".editor").getByLabel("Tags").press("End");
    await page.keyboard.type("W");
    await button(page.locator(".editor"), "Save").click();
    assert.match(await page.locator(".editor").getByLabel("Tags").evaluate((input) => input.validationMessage), /50 characters/);
    await page.keyboard.press("Backspace");
    await button(page.locator(".editor"), "Save").click();
    await saved(page, "Short");
    const { tags, due_date } = await asUser(token, "GET", `/${id}`);
    assert.deepEqual({ tags, due_date }, values);
    await asUser(token, "DELETE", `/${id}`);
    await hides(page, "Short");
  });

  const tab = await openPage(context);
  await step("two tabs follow each other", async () => {
    await shows(tab, "Late");
    await add(page, "From the first tab");
    await shows(tab, "From the first tab");
    await tab.getByRole("button", { name: "Delete: From the first tab" }).click();
    await hides(page, "From the first tab");
    await button(tab, "Undo").click();
    await shows(page, "From the first tab");
  });

  await step("a task that was changed in the other tab is not overwritten: she decides", async () => {
    for (const [each, title] of [[page, "Mine"], [tab, "Theirs"]]) {
      await each.getByRole("button", { name: "Edit: Late" }).click();
      await each.locator(".editor").getByLabel("Title").fill(title);
    }
    await button(tab.locator(".editor"), "Save").click();
    await saved(tab, "Theirs");
    await button(page.locator(".editor"), "Save").click();
    await page.getByText("This task was changed elsewhere.").waitFor();
    assert.match(await page.locator(".editor [role=alert]").textContent(), /It is now: Theirs · open/);
    await checkAccessibility(page, "a conflict");
    await button(page, "Save mine instead").click();
    await shows(page, "Mine");
    await shows(tab, "Mine");
  });

  await step("an open editor stays when the filter excludes its task, and when the task is deleted elsewhere", async () => {
    const { id } = await asUser(token, "POST", "", { title: "Seed" });
    await page.bringToFront();
    await shows(page, "Seed");
    await Promise.all([page.waitForResponse((response) => response.url().includes("q=seed")), page.getByLabel("Search").fill("seed")]);
    await page.getByRole("button", { name: "Edit: Seed" }).click();
    const editor = page.locator(".editor");
    await editor.getByLabel("Title").fill("Plant");
    await asUser(token, "PUT", `/${id}`, { priority: "high" });
    await button(editor, "Save").click();
    await editor.getByText("This task was changed elsewhere.").waitFor();
    await asUser(token, "DELETE", `/${id}`);
    await page.waitForResponse(async (response) => response.url().includes("/changes") && (await response.text()).includes(`"deleted":[${id}]`));
    await button(page, "Save mine instead").click();
    await notice(page, "“Seed” was not saved. Task not found.");
    assert.equal(await editor.getByLabel("Title").inputValue(), "Plant");
    await button(editor, "Cancel").click();
    await editor.waitFor({ state: "detached" });
    await page.getByText("No task matches.").waitFor();
    await button(page, "Show all tasks").click();
    await shows(page, "Mine");
  });

  await step("before the scripts have started, a new task is not sent to the page's own address", async () => {
    const early = await context.newPage();
    await early.route("**/*.js", (route) => route.abort());
    await early.goto(APP_URL);
    await early.getByLabel("Title of the new task").fill("Early");
    await early.keyboard.press("Enter");
    await early.waitForTimeout(200);
    assert.equal(early.url(), `${APP_URL}/`);
    assert.equal(await early.getByLabel("Title of the new task").inputValue(), "Early");
    await early.close();
  });

  await step("a page of one user does not use the token of another", async () => {
    const other = changed(await tokenOf(page), { sub: "another-user" });
    const mark = requests.length;
    const mixed = await context.newPage();
    await mixed.route("**/api/auth/token", (route) => route.fulfill({ json: { token: other } }));
    await mixed.goto(APP_URL);
    await mixed.getByText("Another user signed in.").waitFor();
    assert.equal(requests.slice(mark).filter(({ url }) => url.includes("another-user")).length, 0);
    await mixed.close();
  });

  await step("an expired token is refreshed once, and nobody notices", async () => {
    const mark = requests.length;
    let fetched = 0;
    const fresh = await tokenOf(page);
    await context.route("**/api/auth/token", (route) => {
      fetched += 1;
      return fetched === 1 ? route.fulfill({ json: { token: changed(fresh, { exp: Math.floor(Date.now() / 1000) - 60 }) } }) : route.continue();
    });
    await tab.close();
    await page.reload();
    await shows(page, "Mine");
    await add(page, "With a new token");
    await context.unroute("**/api/auth/token");
    assert.equal(fetched, 2);
    assert.deepEqual(since(mark, "GET", "/tasks").slice(0, 2).map(({ status }) => status), [401, 200]);
    assert.equal(requests.slice(mark).filter(({ status }) => status === 401).length, 1);
  });

  await step("a long list is read page by page while she scrolls", async () => {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    for (let number = 1; number <= 45; number += 1) await fetch(`${API_URL}/api/tasks`, { method: "POST", headers, body: JSON.stringify({ title: `Task ${number}` }) });
    const mark = requests.length;
    await page.reload();
    await shows(page, "Task 45");
    assert.equal((await titles(page)).length, 20);
    for (let scrolls = 0; scrolls < 100 && !(await titles(page)).includes("Call the plumber"); scrolls += 1) {
      await page.mouse.wheel(0, 3000);
      await page.waitForTimeout(100);
    }
    assert.ok(since(mark, "GET", "&cursor=ey").length + since(mark, "GET", "&cursor=").length >= 3);
    const all = await titles(page);
    assert.equal(new Set(all).size, all.length);
    assert.equal(all.at(-1), "Call the plumber");
    await page.evaluate(() => scrollTo(0, 0));
  });

  await step("offline, and when the list cannot be read, the page shows a message and recovers", async () => {
    await context.setOffline(true);
    await page.getByText("No connection.").waitFor();
    assert.equal((await titles(page)).includes("Mine"), true);
    await checkAccessibility(page, "no connection");
    await context.setOffline(false);
    await page.getByText("No connection.").waitFor({ state: "detached" });
    refuse = ["GET", "GET"];
    await page.reload();
    await page.getByText("The tasks could not be read.").waitFor();
    await checkAccessibility(page, "a failed list");
    refuse = [];
    await button(page, "Try again").click();
    await shows(page, "Task 45");
  });

  await step("the token is in no storage, and a script that was put into the page does not run", async () => {
    const response = await context.request.get(APP_URL);
    const policy = response.headers()["content-security-policy"];
    assert.match(policy, /default-src 'none'; script-src 'self' 'nonce-[\w=]+'; style-src 'self';/);
    assert.notEqual(policy, (await context.request.get(APP_URL)).headers()["content-security-policy"]);
    const foreign = await openPage(context);
    const ran = await foreign.evaluate(async () => {
      document.body.insertAdjacentHTML("beforeend", `<img src="data:," onerror="window.ran = 'an attribute'">`);
      const script = document.createElement("script");
      script.textContent = "window.ran = 'a script'";
      document.body.append(script);
      await fetch("http://127.0.0.1:9/").catch(() => undefined);
      return window.ran ?? "nothing";
    });
    assert.equal(ran, "nothing");
    await foreign.close();
    for (const refused of ["inline event handler", "inline script", "http://127.0.0.1:9/", "data:,"]) assert.ok(problems.some((text) => text.includes(refused)), `${refused}: ${problems.join("\n")}`);
    assert.ok(problems.every((text) => text.includes("Content Security Policy")), problems.join("\n"));
    problems.length = 0;
    const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie);
    assert.ok(!stored.includes("eyJ"), stored);
  });

  await step("a page of another origin cannot read or change her tasks, get a token, or show the page in a frame", async () => {
    const { sub } = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
    const authorization = `Bearer ${token}`;
    const server = createServer((_, response) => response.setHeader("content-type", "text/html").end(`<iframe src="${APP_URL}"></iframe>`));
    await new Promise((resume) => server.listen(0, "127.0.0.1", resume));
    for (const host of ["127.0.0.1", "foreign.test"]) {
      const foreign = await context.newPage();
      await foreign.goto(`http://${host}:${server.address().port}/`);
      const tasks = `${PROXY_URL}/api/${sub}/tasks`;
      const write = { method: "POST", headers: { authorization, "content-type": "application/json" }, body: '{"title":"Foreign"}' };
      assert.equal(await tryFetch(foreign, tasks, { headers: { authorization } }), "TypeError");
      assert.equal(await tryFetch(foreign, tasks, write), "TypeError");
      assert.equal(await tryFetch(foreign, `${APP_URL}/api/auth/token`, { credentials: "include" }), "TypeError");
      const signOut = { method: "POST", credentials: "include", mode: "no-cors", body: "" };
      await tryFetch(foreign, `${APP_URL}/api/auth/sign-out`, signOut);
      assert.match(foreign.frames()[1].url(), /^chrome-error:/); // refused by frame-ancestors
      await foreign.close();
    }
    server.close();
    assert.match(await tryFetch(page, `${PROXY_URL}/api/${sub}/tasks`, { headers: { authorization } }), /^read 200/);
    await page.reload();
    await shows(page, "Task 45");
    assert.ok(!(await titles(page)).includes("Foreign"));
  });

  await step("she signs out, in every tab, and in again", async () => {
    const other = await openPage(context);
    await shows(other, "Task 45");
    await page.getByText("Zoë").click();
    await checkAccessibility(page, "the menu");
    await button(page, "Sign out").click();
    await button(page, "Sign in").waitFor();
    await button(other, "Sign in").waitFor();
    await other.close();
    await page.getByLabel("E-mail").fill("zoe@example.com");
    await page.getByLabel("Password").fill("not her password");
    await button(page, "Sign in").click();
    await page.getByText("Invalid email or password").waitFor();
    await page.getByLabel("Password").fill(password);
    await button(page, "Sign in").click();
    await shows(page, "Task 45");
  });

  await step("a session that ended elsewhere: the page asks her to sign in", async () => {
    await context.clearCookies();
    await page.reload();
    await button(page, "Sign in").waitFor();
    await page.getByLabel("E-mail").fill("zoe@example.com");
    await page.getByLabel("Password").fill(password);
    await button(page, "Sign in").click();
    await shows(page, "Task 45");
  });

  await step("she deletes her account, and a token that is left opens nothing", async () => {
    await page.getByText("Zoë").click();
    await button(page, "Delete account").click();
    await checkAccessibility(page, "the question before an account is deleted");
    await page.getByRole("dialog").getByLabel("Password").fill("not her password");
    await button(page.getByRole("dialog"), "Delete account").click();
    await page.getByRole("dialog").getByText("Invalid password").waitFor();
    await page.getByRole("dialog").getByLabel("Password").fill(password);
    await button(page.getByRole("dialog"), "Delete account").click();
    await button(page, "Sign in").waitFor();
    const left = await fetch(`${API_URL}/api/tasks`, { method: "POST", headers: { authorization: `Bearer ${token}`, "content-type": "application/json" }, body: '{"title":"After"}' });
    assert.equal(left.status, 403);
  });

  const desktop = await browser.newContext({ viewport: { width: 900, height: 900 }, locale: "en-GB" });
  const demo = await openPage(desktop, DEMO_URL);
  await step("in the demo a new user finds sample data, and resets it", async () => {
    await signUp(demo, "Demo", "demo@example.com");
    await shows(demo, "Buy oat milk, coffee and lemons");
    await demo.waitForFunction(() => document.querySelectorAll(".tasks h2").length === 12);
    await add(demo, "Mine");
    await demo.getByText("Demo", { exact: true }).click();
    await button(demo, "Reset sample data").click();
    await notice(demo, "The sample data is as it was.");
    await hides(demo, "Mine");
    await demo.waitForFunction(() => document.querySelectorAll(".tasks h2").length === 12);
    await button(demo, "Dismiss").click();
    await checkAccessibility(demo, "the sample data");
    for (const colorScheme of SCREENSHOTS ? ["light", "dark"] : []) {
      await demo.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await demo.screenshot({ path: `${SCREENSHOTS}/demo-${colorScheme}.png` });
    }
  });

  const scripts = await demo.evaluate(() => performance.getEntriesByType("resource").filter(({ name }) => name.endsWith(".js")).map(({ encodedBodySize }) => encodedBodySize));
  console.log(`${scripts.length} scripts of ${Math.round(scripts.reduce((sum, size) => sum + size) / 1000)} kB (compressed)`);
  for (const each of [page, demo]) {
    const shifts = await each.evaluate(() => window.shifts);
    const total = shifts.reduce((sum, [value]) => sum + value, 0);
    assert.ok(total < 0.1, `The layout moved: ${JSON.stringify(shifts)}`);
  }
  await step("two tabs of the demo that reset the sample data at once leave one set", async () => {
    const second = await openPage(desktop, DEMO_URL);
    await shows(second, "Renew passport");
    for (const each of [demo, second]) await each.getByText("Demo", { exact: true }).click();
    // So slow that the requests of both tabs would overlap.
    await desktop.route("**/tasks", async (route) => {
      await new Promise((resume) => setTimeout(resume, 100));
      await route.continue();
    });
    await Promise.all([demo, second].map((each) => button(each, "Reset sample data").click()));
    for (const each of [demo, second]) await notice(each, "The sample data is as it was.");
    const { token: of } = await (await desktop.request.get(`${DEMO_URL}/api/auth/token`)).json();
    assert.equal((await asUser(of, "GET", "")).length, 12);
  });

  console.log(`axe-core: ${checked} states checked, ${findings.size} findings`);
  assert.deepEqual([...findings], []);
  assert.deepEqual(problems, []);
  console.log(`${requests.length} requests to the API, ${((Date.now() - began) / 1000).toFixed(1)} s\ndone`);
} catch (error) {
  console.log(`FAILED: ${error.stack}`);
  console.log(requests.slice(-8).map(({ method, url, status }) => `      ${method} ${url} ${status}`).join("\n"));
  console.log([...findings, ...problems].join("\n"));
  if (SCREENSHOTS) for (const [number, page] of pages.entries()) await page.screenshot({ path: `${SCREENSHOTS}/failed-${number}.png` }).catch(() => undefined);
  process.exitCode = 1;
} finally {
  await browser.close();
  process.exit();
}
