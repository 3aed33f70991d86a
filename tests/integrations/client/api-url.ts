// Replaces lib/api-url.ts of a frontend, which reads the origin of the API from the page.
export function apiUrl(): string {
  return process.env.TASKS_API_URL ?? "";
}
