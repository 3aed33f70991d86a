"""Hooks of schemathesis: the token for each path, and the correct refusals of well-formed requests.

They run inside schemathesis, not inside pytest.
"""

import os
import time

import jwt
import schemathesis
from schemathesis.auths import AuthContext
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

# Refusals of well-formed requests, as location and type: a schema cannot say which cursors and keys
# are valid, nor that one query parameter needs another or excludes it.
BEYOND_SCHEMAS = {
    ("query.cursor", "cursor_invalid"),
    ("query.since", "since_invalid"),
    ("query.limit", "missing"),
    ("query.offset", "offset_with_cursor"),
    ("body.completed", "missing"),
    ("header.Idempotency-Key", "idempotency_key_reused"),
}


@schemathesis.auth(refresh_interval=None)
class TokenOfThePath:
    """A valid token of the user in the generated path, so that requests pass authentication."""

    def get(self, case: Case, ctx: AuthContext) -> str | None:
        user = case.path_parameters.get("user_id", "fuzz")
        if not isinstance(user, str):
            return None
        claims = {"sub": user, "exp": int(time.time()) + 3600}
        try:
            return jwt.encode(claims, os.environ["HOSTILE_SECRET"])
        except UnicodeEncodeError:  # half of a surrogate pair
            return None

    def set(self, case: Case, data: str, ctx: AuthContext) -> None:
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.check
def positive_data_acceptance_as_far_as_schemas_go(
    ctx: CheckContext, response: Response, case: Case
) -> bool | None:
    """The check `positive_data_acceptance`, except for refusals that no schema can describe."""
    if response.status_code == 412:
        return None
    if response.status_code == 422:
        errors = response.json().get("errors", [])
        faults = {(".".join(map(str, error["loc"])), error["type"]) for error in errors}
        if faults and faults <= BEYOND_SCHEMAS:
            return None
    return positive_data_acceptance(ctx, response, case)


@schemathesis.check
def negative_data_rejection_but_for_empty_values(
    ctx: CheckContext, response: Response, case: Case
) -> bool | None:
    """The check `negative_data_rejection`, except for empty values, which mean null or absent."""
    values = [*(case.query or {}).values()]
    if isinstance(case.body, dict):
        values += [case.body.get("priority"), case.body.get("due_date")]
    if any(value in ("", [""]) for value in values):
        return None
    return negative_data_rejection(ctx, response, case)
