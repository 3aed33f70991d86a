// proxy.ts: the content security policy of the page. Next.js reads the nonce in it and puts it on its own scripts.
import { NextResponse, type NextRequest } from "next/server";
import { apiOrigin } from "./lib/api-origin";

export const config = { matcher: "/((?!api/|_next/).*)" };

export function proxy(request: NextRequest): NextResponse {
  const nonce = btoa(crypto.randomUUID());
  const forDevelopment = process.env.NODE_ENV === "development"; // React then uses eval, Next.js inline styles and fonts
  const policy = [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}'${forDevelopment ? " 'unsafe-eval'" : ""}`,
    `style-src 'self'${forDevelopment ? " 'unsafe-inline'" : ""}`,
    `connect-src 'self' ${apiOrigin()}`,
    "img-src 'self'",
    ...(forDevelopment ? ["font-src 'self'"] : []),
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
  const headers = new Headers(request.headers);
  headers.set("Content-Security-Policy", policy);
  const response = NextResponse.next({ request: { headers } });
  response.headers.set("Content-Security-Policy", policy);
  return response;
}
