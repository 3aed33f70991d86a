// lib/auth.ts: Better Auth signs the API's tokens with HS256 and the shared BETTER_AUTH_SECRET.
import { betterAuth } from "better-auth";
import { jwt } from "better-auth/plugins";
import { SignJWT } from "jose";
import { Pool } from "pg";

const url = process.env.BETTER_AUTH_URL; // e.g. https://app.example.com, without a slash at the end
const key = new TextEncoder().encode(process.env.BETTER_AUTH_SECRET);

export const auth = betterAuth({
  baseURL: url,
  database: new Pool({ connectionString: process.env.DATABASE_URL }),
  emailAndPassword: { enabled: true },
  user: { modelName: "users", deleteUser: { enabled: true } },
  plugins: [
    jwt({
      // Required with `sign`, but unused: /api/auth/jwks returns 404.
      jwks: { remoteUrl: `${url}/api/auth/jwks`, keyPairConfig: { alg: "ES256" } },
      jwt: {
        issuer: url,
        audience: "todo-api",
        expirationTime: "15m",
        definePayload: ({ user }) => ({ email: user.email, name: user.name }),
        sign: (payload, header) =>
          new SignJWT(payload).setProtectedHeader({ ...header, alg: "HS256", typ: "JWT" }).sign(key),
      },
    }),
  ],
});
