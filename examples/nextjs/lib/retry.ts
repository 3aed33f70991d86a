// lib/retry.ts: retries failed requests. Use it only for requests that have no further effect when they are repeated.
import { ApiError } from "./api-error";

const RETRYABLE = [429, 502, 503, 504];

/** Calls `send` up to four times, until it succeeds or fails with an error that a retry cannot fix. */
export async function withRetries<T>(send: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send();
    } catch (error) {
      const apiError = error instanceof ApiError ? error : null;
      const retryable = apiError ? RETRYABLE.includes(apiError.status) : error instanceof TypeError;
      if (!retryable || attempt === 4) throw error;
      const seconds = apiError?.retryAfter ?? attempt;
      await new Promise((resume) => setTimeout(resume, 1000 * seconds));
    }
  }
}
