// lib/auth.ts: Better Auth signs the API's tokens with a key of its own; the API reads the public half from /api/auth/jwks.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { Pool } from "pg";

const url = process.env.BETTER_AUTH_URL; // e.g. https://app.example.com, without a slash at the end

export const auth = betterAuth({
  baseURL: url,
  database: new Pool({ connectionString: process.env.DATABASE_URL }),
  emailAndPassword: { enabled: true },
  user: { modelName: "users", deleteUser: { enabled: true } },
  plugins: [
    jwt({
      jwks: { keyPairConfig: { alg: "EdDSA", crv: "Ed25519" } }, // or { alg: "ES256" }, or { alg: "RS256" }
      jwt: {
        issuer: url,
        audience: "todo-api",
        expirationTime: "15m",
        definePayload: ({ user }) => ({ email: user.email, name: user.name }),
      },
    }),
  ],
});
