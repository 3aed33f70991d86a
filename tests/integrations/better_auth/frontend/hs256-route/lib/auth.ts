// lib/auth.ts: Better Auth without its jwt plugin; app/api/token/route.ts signs the API's tokens.
import { betterAuth } from "better-auth";
import { Pool } from "pg";

export const auth = betterAuth({
  baseURL: process.env.BETTER_AUTH_URL,
  database: new Pool({ connectionString: process.env.DATABASE_URL }),
  emailAndPassword: { enabled: true },
  user: { modelName: "users", deleteUser: { enabled: true } },
});
