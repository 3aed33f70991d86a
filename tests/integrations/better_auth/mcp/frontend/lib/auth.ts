// lib/auth.ts: Better Auth signs session tokens for the API, and access tokens for AI assistants.
import { mcp } from "@better-auth/mcp";
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
      jwks: { keyPairConfig: { alg: "EdDSA", crv: "Ed25519" } },
      jwt: {
        issuer: url,
        audience: "todo-api",
        expirationTime: "15m",
        definePayload: ({ user }) => ({ email: user.email, name: user.name }),
      },
    }),
    mcp({
      resource: process.env.MCP_RESOURCE ?? "", // the same value as in the API
      scopes: ["openid", "profile", "email", "offline_access", "tasks:read", "tasks:write"],
      loginPage: "/sign-in",
      consentPage: "/consent",
      // Assistants register themselves. Without these two lines, you register each client.
      allowDynamicClientRegistration: true,
      allowUnauthenticatedClientRegistration: true,
    }),
  ],
});
