// Runs the real Better Auth as an OAuth authorization server on 127.0.0.1, for the tests.
//
// Environment: PORT, DATABASE_URL, BETTER_AUTH_URL, BETTER_AUTH_SECRET, MCP_RESOURCE.
// POST /fixture/clock {"seconds": n} sets its clock. Prints one JSON line when it is ready.
import { setClock } from "../clock.mjs";
import { createServer } from "node:http";
import { registerHooks } from "node:module";
import { toNodeHandler } from "better-auth/node";
import { getMigrations } from "better-auth/db/migration";

// Next.js imports TypeScript files without their extension.
registerHooks({
  resolve: (name, context, next) => next(name.endsWith("/lib/auth") ? `${name}.ts` : name, context),
});
const { auth } = await import("./frontend/lib/auth.ts");
const wellKnown = await import("./frontend/app/.well-known/oauth-authorization-server/route.ts");

const { BETTER_AUTH_URL, PORT } = process.env;
const migrations = await getMigrations(auth.options);
await migrations.runMigrations();

async function bodyOf(request) {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text);
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, BETTER_AUTH_URL);
  if (pathname === "/fixture/clock") {
    setClock((await bodyOf(request)).seconds);
    response.writeHead(204).end();
  } else if (pathname === "/.well-known/oauth-authorization-server") {
    await toNodeHandler(wellKnown.GET)(request, response);
  } else if (pathname.startsWith("/api/auth/")) {
    await toNodeHandler(auth)(request, response);
  } else {
    response.writeHead(404, { "content-type": "text/plain" }).end("Not found");
  }
});

server.listen(Number(PORT), "127.0.0.1", () => {
  const names = (tables) => tables.map((table) => table.table);
  const { toBeCreated, toBeAdded } = migrations;
  const ready = { ready: BETTER_AUTH_URL, created: names(toBeCreated), added: names(toBeAdded) };
  console.log(JSON.stringify(ready));
});
process.on("SIGTERM", () => process.exit(0));
