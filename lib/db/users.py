"""The values of a user's row in the table `users`, and why a row was not added."""

from functools import cache
from typing import Any

from lib.db import compiled
from lib.db.transaction import run_transaction
from lib.log import log_warning
from lib.schemas import AuthenticatedUser

# The longest e-mail address (RFC 5321). A longer claim would not fit into the index of users.
MAX_EMAIL_LENGTH = 254


def profile_values(user: AuthenticatedUser) -> dict[str, Any]:
    """The parameters of a statement that inserts the user's row if there is none."""
    usable = user.email is not None and len(user.email) <= MAX_EMAIL_LENGTH
    return {
        "user_name": user.name,
        "user_email": user.email if usable else None,
        "user_email_verified": usable and user.email_verified,
    }


async def users_are_shared(user: AuthenticatedUser) -> bool:
    """Whether no row was added because Better Auth keeps its users in the table. Logs this once."""
    [[(shared,)]] = await run_transaction(user.id, (compiled.USERS_ARE_SHARED, {}))
    if shared:
        _warn_that_users_are_shared()
    return shared


@cache
def _warn_that_users_are_shared() -> None:
    log_warning(
        "No row was added to the table users, because Better Auth keeps its users there. "
        "A user without a row has not signed up, or has been deleted."
    )
