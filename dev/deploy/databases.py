"""Compares database URLs, so that a deployment changes the database that it belongs to."""

from lib.settings.database_url import parse_database_url

POSTGRESQL_PORT = 5432
INTERRUPTED = (
    "Interrupted. The migrations are applied as a whole or not at all, and the code that serves now"
    " works with both. A deployment that has begun continues on the platform: look at its state"
    " there before you run the command again."
)


def is_same_database(url: str, other: str) -> bool:
    """Whether both URLs name the same database. Neon's pooled and direct hosts are the same.

    Raises ValueError if one of them is not a valid URL; the message does not quote it.
    """
    return _database(url) == _database(other)


def _database(url: str) -> tuple[str, int, str]:
    parts = parse_database_url(url)
    host = parts.host.lower().rstrip(".").replace("-pooler.", ".", 1)
    return host, parts.port or POSTGRESQL_PORT, parts.database or parts.user or ""
