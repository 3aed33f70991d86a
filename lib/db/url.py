"""From a database URL to the parameters of libpq."""

import ipaddress
from functools import cache
from typing import Any

import certifi
import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from lib.settings import SettingsError

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
    place, _, query = url.partition("?")
    known = [pair for pair in query.split("&") if pair.partition("=")[0] in _names_libpq_knows()]
    try:
        given = conninfo_to_dict(f"{place}?{'&'.join(known)}")
    except psycopg.ProgrammingError:
        # Without the cause, which quotes the password.
        raise SettingsError(
            "The database URL cannot be read: percent-encode what is special in its password."
        ) from None
    host = str(given.get("host", ""))
    if "," in host:
        raise SettingsError("The database URL names several hosts: leave one.")
    completed: dict[str, Any] = {
        "application_name": "task-api",
        "gssencmode": "disable",
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
    } | given
    if is_this_machine(host) or given.get("sslmode") == "disable":
        return completed
    completed["sslmode"] = "verify-full"
    # psycopg's own OpenSSL knows no system directory: the bundle must be named.
    if given.get("sslrootcert", "system") == "system":
        completed["sslrootcert"] = ca_bundle or certifi.where()
    if is_neon(host):
        completed |= {"sslnegotiation": "direct", "channel_binding": "require"}
    return completed


def is_neon(host: str) -> bool:
    return host.lower().endswith(".neon.tech")


@cache
def _names_libpq_knows() -> set[str]:
    return {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}


def is_this_machine(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
