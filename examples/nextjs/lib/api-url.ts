// lib/api-url.ts: the origin of the API. app/layout.tsx writes it into the page, so that one build fits every deployment.
export function apiUrl(): string {
  return document.documentElement.dataset.api ?? "";
}
