"""From a database URL to the parameters of libpq."""

from functools import cache
from typing import Any

import certifi
from psycopg import pq

from lib.settings import SettingsError
from lib.settings.database_url import parse_database_url

# After this time without an acknowledgement the kernel ends a connection. It leaves a second
# attempt half of the time budget: see lib/db/pool.py.
TCP_USER_TIMEOUT_MS = 2000


def connection_parameters(url: str, ca_bundle: str | None = None) -> dict[str, Any]:
    """What libpq is told for a database URL, completed for a pooled Neon endpoint.

    Hosts other than this machine are spoken to with verified TLS, unless the URL says
    `sslmode=disable`; Neon's also save a round trip by direct TLS and tie the login to the
    certificate. Nothing is added that PgBouncer refuses at start-up. What other drivers understand
    in a URL and libpq does not is left out. Raises SettingsError.
    """
    try:
        parts = parse_database_url(url)
    except ValueError as error:
        raise SettingsError(f"The database URL {error}.") from None
    given = {
        "host": parts.host,
        "port": str(parts.port or ""),
        "user": parts.user,
        "password": parts.password,
        "dbname": parts.database,
    } | {name: value for name, value in parts.options.items() if name in _names_libpq_knows()}
    if parts.options.get("ssl") == "true":  # as JDBC writes sslmode=require
        given.setdefault("sslmode", "require")
    given = {name: value for name, value in given.items() if value}
    completed: dict[str, Any] = {
        "application_name": "task-api",
        "gssencmode": "disable",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
    } | given
    if parts.is_local or given.get("sslmode") == "disable":
        return completed
    completed["sslmode"] = "verify-full"
    # psycopg's own OpenSSL knows no system directory: the bundle must be named.
    if given.get("sslrootcert", "system") == "system":
        completed["sslrootcert"] = ca_bundle or certifi.where()
    if is_neon(parts.host):
        completed.setdefault("sslnegotiation", "direct")
        if given.get("channel_binding") != "disable":
            completed["channel_binding"] = "require"
    return completed


def is_neon(host: str) -> bool:
    return host.lower().endswith(".neon.tech")


@cache
def _names_libpq_knows() -> set[str]:
    return {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
