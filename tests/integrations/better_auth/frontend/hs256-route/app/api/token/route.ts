// app/api/token/route.ts: returns an HS256 token for the API to a signed-in user.
import { SignJWT } from "jose";
import { auth } from "../../../lib/auth";

const url = process.env.BETTER_AUTH_URL ?? "";
const key = new TextEncoder().encode(process.env.BETTER_AUTH_SECRET);

export async function GET(request: Request): Promise<Response> {
  const session = await auth.api.getSession({ headers: request.headers });
  const headers = { "cache-control": "no-store" };
  if (!session) return Response.json({ error: "Sign in first." }, { status: 401, headers });
  const token = await new SignJWT({ email: session.user.email, name: session.user.name })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(session.user.id)
    .setIssuer(url)
    .setAudience("todo-api")
    .setIssuedAt()
    .setExpirationTime("15m")
    .sign(key);
  return Response.json({ token }, { headers });
}
