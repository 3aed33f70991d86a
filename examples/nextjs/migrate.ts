// migrate.ts: creates or updates Better Auth's tables at DATABASE_URL.
import { getMigrations } from "better-auth/db/migration";
import { auth } from "./lib/auth.ts";

const { runMigrations, toBeCreated, toBeAdded } = await getMigrations(auth.options);
try {
  await runMigrations();
} catch (error) {
  console.error(`Better Auth's tables cannot be created: ${(error as Error).message}. Does DATABASE_URL name the owner's role?`);
  process.exit(1);
}
const changed = [...toBeCreated, ...toBeAdded].map(({ table }) => table);
console.log(changed.length ? `Created or changed: ${changed.join(", ")}.` : "The tables are up to date.");
process.exit(0); // the connection pool would keep the program running
