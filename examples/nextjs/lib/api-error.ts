// lib/api-error.ts: an error response.
export type FieldError = { loc: (string | number)[]; msg: string; type: string };

export class ApiError extends Error {
  status: number; // decide by the status, not by the text
  detail: string; // a sentence for the user
  errors: FieldError[]; // 422 only: the invalid fields
  retryAfter: number | null; // seconds

  constructor(status: number, body: unknown, headers?: Headers) {
    // Responses of the platform itself (429, 502, 504) have another form.
    const { detail, errors } = (body ?? {}) as { detail?: unknown; errors?: FieldError[] };
    super(typeof detail === "string" ? detail : `The server responded with status ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.detail = this.message;
    this.errors = errors ?? [];
    this.retryAfter = Number(headers?.get("retry-after")) || null;
  }
}
