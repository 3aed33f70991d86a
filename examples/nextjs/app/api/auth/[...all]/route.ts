// app/api/auth/[...all]/route.ts: Better Auth's own routes, on the origin of the pages.
import { toNextJsHandler } from "better-auth/next-js";
import { auth } from "../../../../lib/auth";

export const { GET, POST } = toNextJsHandler(auth);
