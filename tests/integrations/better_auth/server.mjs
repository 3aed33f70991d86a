// Runs the real Better Auth on 127.0.0.1 for the tests, and serves the test page.
//
// Environment: WAY (how tokens are issued), PORT, DATABASE_URL, BETTER_AUTH_URL, BETTER_AUTH_SECRET;
// TOKEN_LIFE ("15m") and ROTATION_SECONDS (off) change the jwt plugin of the loaded lib/auth.ts;
// PAGE (a TypeScript file, bundled and served on "/") and API_URL (the API that the page uses).
// POST /fixture/clock {"seconds": n} sets its clock. Prints one JSON line when it is ready.
import { setClock } from "./clock.mjs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { toNodeHandler } from "better-auth/node";
import { getMigrations } from "better-auth/db/migration";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const ways = {
  "hs256-hook": {
    auth: "../../../examples/nextjs/lib/auth.ts",
    authRoute: "../../../examples/nextjs/app/api/auth/[...all]/route.ts",
  },
  "hs256-route": {
    auth: "frontend/hs256-route/lib/auth.ts",
    tokenRoute: "frontend/hs256-route/app/api/token/route.ts",
    fetchToken: "frontend/hs256-route/lib/fetch-token.ts",
  },
  eddsa: { auth: "frontend/eddsa/lib/auth.ts" },
  "eddsa-plain": { auth: "plain.ts" },
  es256: { auth: "frontend/eddsa/lib/auth.ts", keyPairConfig: { alg: "ES256" } },
  rs256: { auth: "frontend/eddsa/lib/auth.ts", keyPairConfig: { alg: "RS256" } },
};

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`Set ${name}.`);
  return value;
}

async function loadFrontend(way) {
  const folder = join(here, "node_modules", ".fixture");
  const outfile = join(folder, `${required("WAY")}.${process.pid}.mjs`);
  const exported = [`export { auth } from "./${way.auth}";`];
  if (way.authRoute) exported.push(`export * as authRoute from "./${way.authRoute}";`);
  if (way.tokenRoute) exported.push(`export * as tokenRoute from "./${way.tokenRoute}";`);
  await mkdir(folder, { recursive: true });
  await build({
    stdin: { contents: exported.join("\n"), resolveDir: here, loader: "ts" },
    outfile,
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
  });
  const frontend = await import(pathToFileURL(outfile));
  await rm(outfile);
  return frontend;
}

function adjustTokens(auth, way) {
  const options = auth.options.plugins?.find((plugin) => plugin.id === "jwt")?.options;
  if (way.keyPairConfig) options.jwks.keyPairConfig = way.keyPairConfig;
  if (process.env.TOKEN_LIFE) options.jwt.expirationTime = process.env.TOKEN_LIFE;
  if (process.env.ROTATION_SECONDS) options.jwks.rotationInterval = Number(process.env.ROTATION_SECONDS);
}

async function bundlePage(entry, way) {
  const ownFetchToken = {
    name: "own-fetch-token",
    setup: (building) => building.onResolve({ filter: /\/fetch-token$/ }, () => ({ path: join(here, way.fetchToken) })),
  };
  const bundle = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "esm",
    plugins: way.fetchToken ? [ownFetchToken] : [],
  });
  const html = await readFile(entry.replace(/\.ts$/, ".html"), "utf8");
  return { script: bundle.outputFiles[0].contents, html: html.replace("{API_URL}", required("API_URL")) };
}

async function bodyOf(request) {
  let text = "";
  for await (const part of request) text += part;
  return JSON.parse(text);
}

const way = ways[required("WAY")];
if (!way) throw new Error(`Set WAY to one of ${Object.keys(ways).join(", ")}.`);
const port = Number(required("PORT"));
const { auth, authRoute, tokenRoute } = await loadFrontend(way);
const authRoutes = authRoute ?? { GET: auth, POST: auth };
adjustTokens(auth, way);
const page = process.env.PAGE ? await bundlePage(process.env.PAGE, way) : null;
const migrations = await getMigrations(auth.options);
await migrations.runMigrations();

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, required("BETTER_AUTH_URL"));
  try {
    if (pathname.startsWith("/api/auth/") && authRoutes[request.method]) {
      await toNodeHandler(authRoutes[request.method])(request, response);
    } else if (pathname === "/api/token" && tokenRoute) {
      await toNodeHandler(tokenRoute.GET)(request, response);
    } else if (pathname === "/fixture/clock" && request.method === "POST") {
      setClock((await bodyOf(request)).seconds);
      response.writeHead(204).end();
    } else if (pathname === "/" && page) {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(page.html);
    } else if (pathname === "/main.js" && page) {
      response.writeHead(200, { "content-type": "text/javascript; charset=utf-8" }).end(page.script);
    } else {
      response.writeHead(404, { "content-type": "text/plain" }).end("Not found");
    }
  } catch (error) {
    console.error(error);
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
});

server.listen(port, "127.0.0.1", () => {
  const names = (tables) => tables.map((table) => table.table);
  console.log(
    JSON.stringify({
      ready: required("BETTER_AUTH_URL"),
      way: required("WAY"),
      created: names(migrations.toBeCreated),
      added: names(migrations.toBeAdded),
    }),
  );
});
process.on("SIGTERM", () => process.exit(0));
