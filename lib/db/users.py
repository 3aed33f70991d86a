"""The values of a user's row in the table `users`."""

from typing import Any

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
