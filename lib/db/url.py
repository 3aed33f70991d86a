"""Converts a database URL to the parameters of libpq."""

from functools import cache
from typing import Any

import certifi
from psycopg import pq

from lib.settings import SettingsError
from lib.settings.database_url import parse_database_url

# The kernel ends a connection whose packets are not acknowledged within this time. It is half of
# BUDGET in lib/db/pool.py, so that there is time for a second attempt.
TCP_USER_TIMEOUT_MS = 2000


def connection_parameters(url: str, ca_bundle: str | None = None) -> dict[str, Any]:
    """The parameters of libpq for a database URL, completed for a pooled Neon endpoint.

    Connections to other hosts than this machine use verified TLS, unless the URL says
    `sslmode=disable`. Those to Neon also use direct TLS, which saves a round trip, and channel
    binding, which ties the login to the certificate. Parameters that PgBouncer would refuse are not
    added, and options that only other drivers know are dropped. Raises SettingsError.
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
    } | {name: value for name, value in parts.options.items() if name in _libpq_options()}
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
    # The OpenSSL inside psycopg has no system directory of certificates: the bundle must be named.
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
def _libpq_options() -> set[str]:
    return {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
