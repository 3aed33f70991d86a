// Better Auth with the jwt plugin without options, as in most tutorials.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { Pool } from "pg";

export const auth = betterAuth({
  baseURL: process.env.BETTER_AUTH_URL,
  database: new Pool({ connectionString: process.env.DATABASE_URL }),
  emailAndPassword: { enabled: true },
  user: { modelName: "users", deleteUser: { enabled: true } },
  plugins: [jwt()],
});
