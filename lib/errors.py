"""The errors that clients see: one class for each, with its status and its message."""


class ApiError(Exception):
    """A response with an error status.

    `detail` is one sentence for the client, `headers` are sent with the response, and `reason` is
    written to the log only.
    """

    status = 500
    detail = "Internal server error."
    reason: str | None = None

    def __init__(self, detail: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail or self.detail)
        self.detail = detail or self.detail
        self.headers = headers or {}


class Unauthenticated(ApiError):
    """The request has no token, or one that fails a check.

    The `WWW-Authenticate` challenge follows RFC 6750, section 3.
    """

    status = 401
    detail = "Authentication required. Send a bearer token."

    def __init__(
        self, detail: str | None = None, *, error: str | None = None, reason: str | None = None
    ) -> None:
        challenge = "Bearer" + (
            f' error="{error}", error_description="{detail}"' if error and detail else ""
        )
        super().__init__(detail, {"WWW-Authenticate": challenge})
        self.reason = reason


class Forbidden(ApiError):
    """The path names a user other than the user of the token."""

    # The message must not contain "token": some frontends sign people out when a 403 does.
    status = 403
    detail = "You can only access your own data."


class InsufficientScope(ApiError):
    """The access token of an OAuth client lacks the scope that the operation needs.

    The `WWW-Authenticate` challenge follows RFC 6750, section 3.1, and names this scope only.
    """

    status = 403

    def __init__(self, scope: str) -> None:
        # As in Forbidden, the message must not contain "token".
        super().__init__(f"This operation needs the scope {scope}. Connect again and grant it.")
        challenge = f'Bearer error="insufficient_scope", error_description="{self.detail}"'
        self.headers["WWW-Authenticate"] = f'{challenge}, scope="{scope}"'


class UserNotProvisioned(ApiError):
    """The user has no row in `users`, and this API may not add one."""

    status = 403
    detail = "This user has no account. Sign up first."


class NotFound(ApiError):
    """No route has this path."""

    status = 404
    detail = "Not found."


class TaskNotFound(ApiError):
    """The task does not exist or belongs to another user. The response must not reveal which."""

    status = 404
    detail = "Task not found."


class ChangesExpired(ApiError):
    """The position in the feed is too old, or belongs to another history of the database."""

    status = 410
    detail = "The changes since then are no longer available. Start again without since."


class TaskChanged(ApiError):
    """The precondition of the request (`If-Match`, `If-None-Match`) does not hold."""

    status = 412
    detail = "The task has changed since you read it. Read it again."


class BodyTooLarge(ApiError):
    """The request body exceeds `MAX_BODY_BYTES` (lib/web/routing.py)."""

    status = 413
    detail = "The request body must not exceed 64 KiB."

    def __init__(self, *, more_body: bool) -> None:
        super().__init__()
        self.more_body = more_body  # whether a part of the body has not been received


class UnsupportedMediaType(ApiError):
    """The request body is compressed, or declared as something other than JSON."""

    status = 415
    detail = "The request body must be JSON (Content-Type: application/json)."


class InvalidInput(ApiError):
    """A value that matches the schema but is invalid in its context.

    `location` is the path to the value as in FastAPI's errors, such as `("query", "cursor")`.
    """

    status = 422

    def __init__(self, detail: str, *, location: tuple[str | int, ...], kind: str) -> None:
        super().__init__(detail)
        self.errors = [{"loc": list(location), "msg": detail, "type": kind}]


class TooManyRequests(ApiError):
    """The user has too many requests in progress in this process."""

    status = 429
    detail = "Too many requests at once. Try again."

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class Unavailable(ApiError):
    """A service that this API depends on does not respond. `retry_after` is in seconds."""

    status = 503

    def __init__(self, detail: str, *, retry_after: int = 2) -> None:
        super().__init__(detail, {"Retry-After": str(retry_after)})


class DatabaseUnavailable(Unavailable):
    """The database did not complete the operation.

    `outcome_unknown` is true where a change may have been applied.
    """

    def __init__(self, *, outcome_unknown: bool) -> None:
        super().__init__(
            "The database did not confirm the change, which may or may not have been applied. "
            "Read before you retry."
            if outcome_unknown
            else "The database is unavailable. Nothing was changed. Try again."
        )


class DatabaseNotPrepared(Unavailable):
    """The database lacks a table, column or privilege that this version needs."""

    def __init__(self) -> None:
        super().__init__("The database is not prepared. Run the migrations.")


class KeysUnavailable(Unavailable):
    """No key is available to verify the token, so the token may be valid."""

    def __init__(self) -> None:
        super().__init__("The keys to verify tokens are unavailable. Try again.", retry_after=5)


class RetentionStalled(Unavailable):
    """Rows have expired, and the retention job could remove none of them."""

    def __init__(self) -> None:
        super().__init__("Expired data could not be removed. See the log.", retry_after=3600)
