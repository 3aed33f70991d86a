"""Every failure that a client may hear of, with its status and its sentence; knows nothing of HTTP
libraries or SQL.
"""


class ApiError(Exception):
    """A refusal with a status, one sentence for the client, and headers that the answer carries.

    `reason` is for the log alone.
    """

    status = 500
    detail = "The server could not answer this request."
    reason: str | None = None

    def __init__(self, detail: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail or self.detail)
        self.detail = detail or self.detail
        self.headers = headers or {}


class Unauthenticated(ApiError):
    """No token, or one that must not be trusted; the challenge follows RFC 6750, section 3."""

    status = 401
    detail = "A bearer token is needed to use this API."

    def __init__(
        self, detail: str | None = None, *, error: str | None = None, reason: str | None = None
    ) -> None:
        challenge = "Bearer" + (
            f' error="{error}", error_description="{detail}"' if error and detail else ""
        )
        super().__init__(detail, {"WWW-Authenticate": challenge})
        self.reason = reason


class NotYourPath(ApiError):
    status = 403
    detail = "The user in the path is not the user of the token."


class UserUnknown(ApiError):
    status = 403
    detail = "This user has no account here: sign up again first."


class TaskNotFound(ApiError):
    status = 404
    detail = "There is no such task."


class TaskChanged(ApiError):
    status = 412
    detail = "The task has changed since you read it: read it again."


class BodyTooLarge(ApiError):
    status = 413
    detail = "The request body is larger than 64 KiB."


class NotJson(ApiError):
    status = 415
    detail = "The request body must be application/json."


class InvalidInput(ApiError):
    """Input of the right form with an impossible value.

    `location` is the path to the value as in FastAPI's errors, for example `("query", "cursor")`.
    """

    status = 422

    def __init__(self, message: str, *, location: tuple[str | int, ...], kind: str) -> None:
        super().__init__(f"{'.'.join(map(str, location))}: {message}")
        self.errors = [{"loc": list(location), "msg": message, "type": kind}]


class Unavailable(ApiError):
    """Something that this API depends on does not answer; `Retry-After` is in seconds."""

    status = 503

    def __init__(self, detail: str, *, retry_after: int = 2) -> None:
        super().__init__(detail, {"Retry-After": str(retry_after)})


class DatabaseUnavailable(Unavailable):
    """There is no answer of the database; `outcome_unknown`: a write may have happened."""

    def __init__(self, *, outcome_unknown: bool) -> None:
        super().__init__(
            "The database did not answer in time, the outcome is unknown: read before you repeat."
            if outcome_unknown
            else "The database is not available now, nothing was changed: try again."
        )


class KeysUnavailable(Unavailable):
    def __init__(self) -> None:
        super().__init__("The keys that verify tokens cannot be had now: try again.", retry_after=5)
