// app/.well-known/oauth-authorization-server/route.ts: how assistants find Better Auth's OAuth endpoints.
import { toNextJsHandler } from "better-auth/next-js";
import { auth } from "../../../lib/auth";

export const { GET } = toNextJsHandler(auth);
