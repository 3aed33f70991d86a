"""Parses database URLs, for the settings, the connection pool and the migrations."""

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

# Two parsers may disagree about where the password of a malformed URL ends. One of them could then
# log a part of the password as a host or a port. Therefore the characters that separate the parts
# of a URL must be percent-encoded elsewhere, and errors never quote the URL.
_EXCLUDED = r"#@\[\]\s\x00-\x1f\x7f"
_PART = rf"[^:/?{_EXCLUDED}]*"
_OPTION = rf"[A-Za-z_][A-Za-z0-9_.-]*=[^?&={_EXCLUDED}]*"
_URL = re.compile(
    rf"""
    postgres(?:ql)?(?:\+psycopg)?://
    (?:(?P<user>{_PART})(?::(?P<password>[^/?{_EXCLUDED}]*))?@)?
    (?P<host>\[[0-9A-Fa-f:.]+\]|{_PART})
    (?::(?P<port>[0-9]{{1,5}}))?
    (?:/(?P<database>{_PART}))?
    (?:\?(?P<query>(?:{_OPTION}(?:&{_OPTION})*&?)?))?
    """,
    re.VERBOSE,
)
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SCHEMES = tuple(
    f"{name}://" for name in ("postgres", "postgresql", "postgres+psycopg", "postgresql+psycopg")
)
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
CHANNEL_BINDINGS = ("disable", "prefer", "require")


class DatabaseUrl(NamedTuple):
    """The parts of a database URL, percent-decoded. An empty `host` means the default of libpq.

    `options` are the parameters of the query string, except those that replace a part of the URL.
    """

    host: str
    port: int | None
    user: str | None
    password: str | None
    database: str | None
    options: Mapping[str, str]

    def __repr__(self) -> str:
        return f"DatabaseUrl(host={self.host!r})"  # without the password

    @property
    def is_local(self) -> bool:
        """Whether the database runs on this machine."""
        if "service" in self.options:
            return False  # the host is in a file of libpq
        return all(map(is_this_machine, (self.host, self.options.get("hostaddr", ""))))


def parse_database_url(url: str) -> DatabaseUrl:
    """Parse a `postgres://`, `postgresql://` or `postgresql+psycopg://` URL.

    Raises ValueError. The message continues a sentence that begins with the name of the variable,
    and quotes nothing of the URL.
    """
    if not url.startswith(_SCHEMES):
        raise ValueError("must be a postgresql:// URL")
    if not (parts := _URL.fullmatch(url)) or _STRAY_PERCENT.search(url):
        raise ValueError(
            "must be a valid URL: percent-encode special characters, such as @ : / ? # [ ] and %,"
            " in the user name and the password"
        )
    try:
        options = {
            name: unquote(value, errors="strict")
            for name, _, value in (
                pair.partition("=") for pair in (parts["query"] or "").split("&")
            )
            if name
        }
        given = {
            name: unquote(value, errors="strict")
            for name, value in parts.groupdict().items()
            if value and name != "query"
        }
    except UnicodeDecodeError:
        raise ValueError("must be percent-encoded UTF-8") from None
    # These parameters replace the parts of the URL, as in libpq.
    for name, part in (
        ("host", "host"), ("port", "port"), ("user", "user"), ("password", "password"),
        ("dbname", "database"),
    ):  # fmt: skip
        if name in options:
            given[part] = options.pop(name)
    if "\0" in "".join([*given.values(), *options.values()]):
        raise ValueError("must not contain NUL characters")
    host = given.get("host", "").removeprefix("[").removesuffix("]")
    _check_host(host)
    port = given.get("port")
    if port is not None and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("must have a port from 1 to 65535")
    _check_options(options)
    return DatabaseUrl(
        host=host,
        port=int(port) if port else None,
        user=given.get("user"),
        password=given.get("password"),
        database=given.get("database"),
        options=options,
    )


def _check_host(host: str) -> None:
    if "," in host:
        raise ValueError("must name a single host")
    if host and not host.startswith("/") and ":" not in host and not _HOST_NAME.fullmatch(host):
        raise ValueError("must name a valid host")
    if ":" in host and not host.startswith("/"):
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("must name a valid host") from None


def _check_options(options: Mapping[str, str]) -> None:
    if "," in options.get("hostaddr", ""):
        raise ValueError("must name a single host")
    for name, values in (("sslmode", SSL_MODES), ("channel_binding", CHANNEL_BINDINGS)):
        if name in options and options[name] not in values:
            raise ValueError(f"must have {name} as one of {', '.join(values)}")


def redirecting_variable(url: DatabaseUrl, environment: Mapping[str, str]) -> str | None:
    """Return the variable that makes libpq connect to another machine despite a local URL."""
    if not url.is_local:
        return None
    if environment.get("PGSERVICE"):  # the host is in a file of libpq
        return "PGSERVICE"
    if "hostaddr" not in url.options and not is_this_machine(environment.get("PGHOSTADDR", "")):
        return "PGHOSTADDR"
    if not url.host and not is_this_machine(environment.get("PGHOST", "")):
        return "PGHOST"
    return None


def is_this_machine(host: str) -> bool:
    """Whether a host is this machine: a loopback address, `localhost`, or a Unix socket."""
    if host.lower() in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
