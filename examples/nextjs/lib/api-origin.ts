// lib/api-origin.ts: the origin of the API on the server, from TASKS_API_URL.
export function apiOrigin(): string {
  const text = process.env.TASKS_API_URL ?? "";
  const { protocol, origin } = URL.canParse(text) ? new URL(text) : { protocol: "", origin: "" };
  // The page's content policy contains it.
  if (!["http:", "https:"].includes(protocol) || /[;,']/.test(origin)) {
    throw new Error("TASKS_API_URL must be the origin of the API, such as https://api.example.com.");
  }
  return origin;
}
