// lib/demo.ts: whether the page offers sample data. Never in production.
export function isDemo(environment: Record<string, string | undefined> = process.env): boolean {
  const { DEMO, VERCEL_ENV, BETTER_AUTH_URL = "" } = environment;
  const local = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/.test(BETTER_AUTH_URL);
  return DEMO === "1" && VERCEL_ENV !== "production" && local;
}
