// lib/auth-client.ts: Better Auth in the browser. In React: createAuthClient from "better-auth/react".
import { createAuthClient } from "better-auth/client";
import { jwtClient } from "better-auth/client/plugins";

export const authClient = createAuthClient({ plugins: [jwtClient()] });
