"""The types of settings. Each validates and normalises the text of a variable."""

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator

from lib.settings.database_url import parse_database_url

MCP_PATH = "/api/mcp"  # of the MCP endpoint, in every deployment

_HOST_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
# Browsers omit these ports in the Origin header.
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}


def one_of(*values: str) -> Any:
    """Create a validator that accepts these values in upper and lower case."""
    by_lower_case = {value.lower(): value for value in values}

    def validate(value: str) -> str:
        if value.lower() not in by_lower_case:
            raise ValueError(f"must be {', '.join(values[:-1])} or {values[-1]}")
        return by_lower_case[value.lower()]

    return BeforeValidator(validate)


def _postgres_url(value: str) -> str:
    parse_database_url(value)
    return f"postgresql://{value.partition('://')[2]}"


def _origins(value: str) -> list[str]:
    entries = [entry.strip() for entry in value.split(",") if entry.strip()]
    return list(
        dict.fromkeys(_origin(entry, number) for number, entry in enumerate(entries, start=1))
    )


def _origin(entry: str, number: int) -> str:
    """Normalise an origin to the form that browsers send: lower case, without a default port."""
    # The message does not quote the entry, which may be a secret in the wrong variable.
    fault = ValueError(f"entry {number} is not an exact origin like https://app.example.com")
    match = re.fullmatch(
        r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\[\]/?#@:\s]+)(?::([0-9]{1,5}))?/?",
        entry.lower(),
        re.ASCII,
    )
    if not match or match[1] == "file":  # browsers send the origin "null" for files
        raise fault
    scheme, host, port = match[1], match[2], match[3]
    try:
        host = _canonical_host(host)
    except ValueError:
        raise fault from None
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    if int(port) > 65535:
        raise fault
    return f"{scheme}://{host}:{int(port)}"


def _canonical_host(host: str) -> str:
    if host.startswith("["):
        return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    if not _HOST_NAME.fullmatch(host):  # browsers send other alphabets in Punycode
        raise ValueError
    if re.search(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$", host):
        return str(ipaddress.IPv4Address(host))
    return host


def _preview_origin(value: str) -> str:
    # Vercel names previews project-hash-team.vercel.app. The star stands for the hash only, which
    # has no hyphen, so no preview of another project or team matches. But anybody can choose a
    # project name whose production address matches, so only previews may use the pattern.
    if not re.fullmatch(r"https://[a-z0-9][a-z0-9-]*-\*-[a-z0-9][a-z0-9-]*\.vercel\.app", value):
        raise ValueError("must look like https://project-*-team.vercel.app, with one star")
    return re.escape(value).replace(r"\*", "[a-z0-9]+")


def _http_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    plain = value.isascii() and not re.search(r"[\s\x00-\x1f\x7f#]", value)
    if (
        scheme.lower() not in ("http", "https")
        or not (has_host and plain)
        or "@" in re.split("[/?]", rest)[0]
    ):
        raise ValueError(
            "must be a URL that begins with http:// or https:// and has a valid host and port"
        )
    return f"{scheme.lower()}{separator}{rest}"


def _base_url(value: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError("must be a URL without ? and #")
    return _http_url(value)


def _mcp_resource(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    host, slash, path = rest.partition("/")
    fault = ValueError("must be the URL of the MCP endpoint, like https://api.example.com/api/mcp")
    if scheme.lower() not in ("http", "https") or slash + path != MCP_PATH:
        raise fault
    try:
        # Clients send the normalised form, and access tokens contain what clients send.
        return _origin(f"{scheme}{separator}{host}", number=1) + MCP_PATH
    except ValueError:
        raise fault from None


def _json_web_keys(value: str) -> str:
    try:
        keys = json.loads(value)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        keys = None
    if not isinstance(keys, list) or not keys:
        raise ValueError('must be a JSON Web Key Set, {"keys": [...]}, with at least one key')
    return value


def _file(value: str) -> str:
    if not Path(value).is_file():
        raise ValueError("must be the path of a file")
    return value


def _header_text(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError("must consist of ASCII characters in one line")
    return value


PostgresUrl = Annotated[str, BeforeValidator(_postgres_url)]
Origins = Annotated[list[str], BeforeValidator(_origins)]
PreviewOrigin = Annotated[str, BeforeValidator(_preview_origin)]
JsonWebKeys = Annotated[str, BeforeValidator(_json_web_keys)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
McpResource = Annotated[str, BeforeValidator(_mcp_resource)]
FilePath = Annotated[str, BeforeValidator(_file)]
HeaderText = Annotated[str, BeforeValidator(_header_text)]
