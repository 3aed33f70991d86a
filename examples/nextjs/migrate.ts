// migrate.ts: creates or updates Better Auth's tables at DATABASE_URL.
import { getMigrations } from "better-auth/db/migration";
import { auth } from "./lib/auth.ts";

const { runMigrations, toBeCreated, toBeAdded } = await getMigrations(auth.options);
await runMigrations();
const changed = [...toBeCreated, ...toBeAdded].map(({ table }) => table);
console.log(changed.length ? `Created or changed: ${changed.join(", ")}.` : "The tables are up to date.");
process.exit(0); // the connection pool would keep the program running
