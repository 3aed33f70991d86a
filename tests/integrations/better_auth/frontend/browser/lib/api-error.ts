// lib/api-error.ts: what the API refused, and why.
export type FieldError = { loc: (string | number)[]; msg: string; type: string };

export class ApiError extends Error {
  status: number; // decide by it
  detail: string; // for people, but for the one of a 422
  errors: FieldError[]; // of a 422: what is wrong with which field
  retryAfter: number | null; // seconds

  constructor(status: number, body: unknown, headers?: Headers) {
    // A gateway in front of the API may answer in a form of its own: 429, 502, 504.
    const { detail, errors } = (body ?? {}) as { detail?: unknown; errors?: FieldError[] };
    super(typeof detail === "string" ? detail : `The server answered ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.detail = this.message;
    this.errors = errors ?? [];
    this.retryAfter = Number(headers?.get("retry-after")) || null;
  }
}
