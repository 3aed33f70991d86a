// Drives headless Chromium through the interactive documentation: authorizes, and runs every operation.
//
// Environment: API_URL, TOKEN of the user USER_ID, CHROMIUM (path of the browser), SHOTS (a folder for screenshots).
// Exits 1 at the first failed expectation.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(new URL("../better_auth/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const { API_URL, CHROMIUM, SHOTS, TOKEN, USER_ID } = process.env;
const problems = [];
const requested = [];

async function step(what, action) {
  await action();
  console.log(`ok  ${what}`);
}

async function openDocs(browser, options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  page.on("request", (request) => requested.push(request.url()));
  page.on("pageerror", (error) => problems.push(error.message));
  // Chromium reports the 4xx responses that this script provokes.
  page.on("console", (message) => {
    const expected = message.text().startsWith("Failed to load resource: the server responded with a status of 4");
    if (["error", "warning"].includes(message.type()) && !expected) problems.push(message.text());
  });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
  });
  await page.goto(`${API_URL}/api/docs`);
  await page.locator(".opblock").first().waitFor();
  return page;
}

const operation = (page, id) => page.locator(`.opblock[id$="-${id}"]`);

// Opens the operation, fills in fields and body, and executes it. Returns the status, and the body and headers as text.
async function execute(page, id, { fields = {}, body } = {}) {
  const block = operation(page, id);
  if (!(await block.locator(".opblock-body").isVisible())) await block.locator(".opblock-summary-control").click();
  for (const [name, value] of Object.entries(fields)) await block.getByPlaceholder(name, { exact: true }).fill(value);
  if (body !== undefined) await block.locator("textarea.body-param__text").fill(body);
  if (await block.locator(".btn-clear").isVisible()) await block.locator(".btn-clear").click();
  await block.locator(".execute").click();
  const response = block.locator(".live-responses-table");
  await response.waitFor();
  const status = Number.parseInt(await response.locator(".response-col_status").last().textContent(), 10);
  const shown = response.locator(".response-col_description");
  return { status, text: await shown.last().textContent() };
}

async function authorize(page, token) {
  await page.locator(".auth-wrapper .authorize").first().click();
  const dialog = page.locator(".modal-ux");
  // The first field is for the user's token and has the focus.
  const field = dialog.locator(".auth-container").first();
  assert.match(await field.textContent(), /make token/);
  await page.waitForFunction(() => document.activeElement === document.querySelector(".modal-ux .auth-container input"));
  await page.keyboard.insertText(token);
  assert.equal(await field.locator("input").inputValue(), token);
  await field.locator(".btn.authorize").click();
  await dialog.locator(".btn-done").first().click();
}

const widths = (page) => page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
const background = (page) =>
  page.evaluate(() => {
    const colour = [document.body, document.documentElement].map((each) => getComputedStyle(each).backgroundColor).find((each) => each !== "rgba(0, 0, 0, 0)");
    return (colour ?? "rgb(255, 255, 255)").match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
  });

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
  ],
});
try {
  const page = await openDocs(browser, { viewport: { width: 1280, height: 900 }, colorScheme: "light" });
  assert.ok((await background(page)) > 128);
  await page.screenshot({ path: `${SHOTS}/wide.png`, fullPage: true });

  await step("only the operations on tasks are open, and they come first", async () => {
    const tags = await page.locator(".opblock-tag").evaluateAll((headings) => headings.map((each) => [each.dataset.tag, each.dataset.isOpen]));
    assert.deepEqual(tags, [["tasks", "true"], ["my tasks", "false"], ["docs", "false"], ["operations", "false"]]);
    for (const tag of ["my tasks", "docs", "operations"]) await page.locator(`.opblock-tag[data-tag="${tag}"]`).click();
  });

  await step("without a token a task operation is a 401", async () => {
    const { status, text } = await execute(page, "list_tasks", { fields: { user_id: USER_ID } });
    assert.equal(status, 401);
    assert.match(text, /Authentication required\. Send a bearer token\./);
  });

  await step("authorizing fills in the user id", async () => {
    await authorize(page, TOKEN);
    const input = operation(page, "list_tasks").getByPlaceholder("user_id");
    assert.equal(await input.inputValue(), USER_ID);
  });

  let task_id;
  await step("the example creates a task", async () => {
    const { status, text } = await execute(page, "create_task", { fields: { "Idempotency-Key": "docs-page" } });
    assert.equal(status, 201, text);
    for (const value of ['"title": "Buy milk"', '"priority": "high"', '"due_date": "2026-12-24"', '"home",'])
      assert.ok(text.includes(value), text);
    assert.match(text, /etag: "[0-9a-f]{32}"/);
    task_id = /"id": (\d+)/.exec(text)[1];
    assert.match(text, new RegExp(`location: /api/.+/tasks/${task_id}`));
  });

  await step("every other operation runs", async () => {
    const runs = [
      ["list_tasks", 200, {}],
      ["get_task", 200, { fields: { task_id } }],
      ["update_task", 200, { fields: { task_id }, body: '{"title": "Buy bread 🥖"}' }],
      ["patch_task", 200, { fields: { task_id }, body: '{"priority": "high"}' }],
      ["complete_task", 200, { fields: { task_id }, body: '{"completed": true}' }],
      ["count_tasks", 200],
      ["list_my_tasks", 200], ["count_my_tasks", 200], ["create_my_task", 201],
      ["get_my_task", 200, { fields: { task_id } }],
      ["update_my_task", 200, { fields: { task_id }, body: '{"title": "Buy bread 🥖"}' }],
      ["patch_my_task", 200, { fields: { task_id }, body: '{"priority": "low"}' }],
      ["complete_my_task", 200, { fields: { task_id }, body: '{"completed": true}' }],
      ["delete_my_task", 412, { fields: { task_id, "If-Match": '"1"' } }],
      ["delete_task", 412, { fields: { task_id, "If-Match": '"1"' } }],
      ["delete_task", 204, { fields: { task_id, "If-Match": "" } }],
      ["restore_task", 200, { fields: { task_id } }], ["restore_my_task", 200, { fields: { task_id } }],
      ["list_task_changes", 200], ["list_my_task_changes", 200],
      ["get_health", 200], ["get_readiness", 200], ["get_openapi", 200], ["get_docs", 200],
      ["get_smoke", 401], ["get_retention", 401],
    ];
    for (const [id, expected, what] of runs) {
      const { status, text } = await execute(page, id, what);
      assert.equal(status, expected, `${id}: ${text}`);
      if (id === "update_task") assert.match(text, /Buy bread 🥖/);
      if (id === "complete_task") assert.match(text, /"completed": true/);
      // Closed again, because Chromium draws all open ones after every click.
      await operation(page, id).locator(".opblock-summary-control").click();
    }
    const run = new Set(["create_task", ...runs.map(([id]) => id)]);
    const shown = await page.locator(".opblock").evaluateAll((blocks) => blocks.map((block) => /-([a-z]+(?:_[a-z]+)+)$/.exec(block.id)[1]));
    assert.deepEqual([...run].sort(), shown.sort());
  });

  await step("the token is not stored", async () => {
    const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }) + document.cookie);
    assert.ok(!stored.includes("eyJ"), stored);
  });

  await step("the page complies with its security policy", async () => {
    assert.deepEqual(await page.evaluate(() => window.violations), []);
    assert.deepEqual(problems, []);
    const injected = await page.evaluate(async () => {
      const script = document.createElement("script");
      script.textContent = "window.injected = true";
      document.body.append(script);
      return [window.injected ?? false, await fetch("https://example.com/").then(() => "read", () => "refused")];
    });
    assert.deepEqual(injected, [false, "refused"]);
    assert.deepEqual(await page.evaluate(() => window.violations.map((each) => each.split(" ")[0])), ["script-src-elem", "connect-src"]);
    problems.splice(0); // Chromium's messages about these two
  });

  for (const [name, width, colorScheme] of [["wide-dark", 1280, "dark"], ["phone", 390, "light"]]) {
    await step(`it fits and follows the colour scheme: ${name}`, async () => {
      const look = await openDocs(browser, { viewport: { width, height: 844 }, colorScheme });
      assert.equal((await background(look)) < 128, colorScheme === "dark");
      await look.screenshot({ path: `${SHOTS}/${name}.png`, fullPage: true });
      await authorize(look, TOKEN);
      assert.equal((await execute(look, "create_task")).status, 201);
      const [content, window] = await widths(look);
      assert.ok(content <= window, `${content} > ${window}`);
      await look.screenshot({ path: `${SHOTS}/${name}-operation.png`, fullPage: true });
      await look.context().close();
    });
  }

  await step("no other host was contacted", async () => {
    const others = requested.filter((url) => !url.startsWith(`${API_URL}/`) && !url.startsWith("data:") && url !== "https://example.com/");
    assert.deepEqual(others, []);
    assert.deepEqual(problems, []);
  });
  console.log("done");
} catch (error) {
  console.log(`FAILED: ${error.stack}`);
  console.log(problems.join("\n"));
  process.exitCode = 1;
} finally {
  await browser.close();
}
