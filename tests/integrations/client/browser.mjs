// Serves a page on PORT and opens it in headless Chromium. The page uses the API, which has another origin.
//
// Environment: PORT, API_URL, CHROMIUM (path of the browser). The script of the page is page.js in the current folder.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../better_auth/package.json", import.meta.url));
const { chromium } = require("playwright-core");
const { API_URL, CHROMIUM, PORT } = process.env;

const server = createServer((request, response) => {
  const [type, body] = request.url === "/page.js" ? ["text/javascript", readFileSync("page.js")] : ["text/html", '<script src="page.js"></script>'];
  response.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
});
await new Promise((resume) => server.listen(Number(PORT), "127.0.0.1", resume));

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"] });
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(120_000);
  const requests = [];
  page.on("request", (request) => requests.push(`${request.method()} ${new URL(request.url()).origin}`));
  page.on("console", (message) => console.error(message.text()));
  await page.goto(`http://127.0.0.1:${PORT}/`);
  await page.waitForFunction(() => "work" in window);
  const results = await page.evaluate(() => window.work());
  assert.deepEqual(results, ["saved", "conflict", true, 20, 1, "end"]);
  assert.ok(requests.filter((each) => each === `POST ${API_URL}`).length >= 21, requests.join());
  console.log("done");
} finally {
  await browser.close();
  server.close();
}
