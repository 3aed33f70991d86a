// lib/api-url.ts: the origin of the API, such as https://api.example.com, without a slash at the end.
/** Reads `data-api` of the <html> element: app/layout.tsx writes it, so that one build fits every deployment. */
export function apiUrl(): string {
  return globalThis.document?.documentElement.dataset.api ?? ""; // Next.js also loads this file on the server
}
