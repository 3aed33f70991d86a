"""What the text of a variable must look like; reads none."""

import json
import re
from typing import Annotated

from pydantic import BeforeValidator


def _postgres_url(value: str) -> str:
    url = re.sub(r"^postgres(ql)?(\+psycopg)?://", "postgresql://", value)
    if not url.startswith("postgresql://"):
        raise ValueError("must be a postgresql:// URL")
    return url


def _origins(value: str) -> list[str]:
    origins = [origin.strip().rstrip("/") for origin in value.split(",") if origin.strip()]
    for origin in origins:
        if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?", origin):
            raise ValueError(
                f"holds {origin!r}, which is no exact origin like https://app.example.com"
            )
    return origins


def _preview_origin(value: str) -> str:
    # Vercel names previews project-hash-team.vercel.app. The hash is the only free part and has no
    # hyphen, so no preview of another project or team fits. A stranger may still name a project so
    # that its own address does: hence not in production.
    if not re.fullmatch(r"https://[a-z0-9][a-z0-9-]*-\*-[a-z0-9][a-z0-9-]*\.vercel\.app", value):
        raise ValueError("must look like https://project-*-team.vercel.app, with one star")
    return re.escape(value).replace(r"\*", "[a-z0-9]+")


def _http_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/\S*)?", value):
        raise ValueError("must be a URL that begins with http:// or https://")
    return value


def _base_url(value: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError("must be a URL without ? and #")
    return _http_url(value)


def _json_web_keys(value: str) -> str:
    try:
        keys = json.loads(value)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        keys = None
    if not isinstance(keys, list) or not keys:
        raise ValueError('must be a JSON Web Key Set, {"keys": [...]}, with at least one key')
    return value


PostgresUrl = Annotated[str, BeforeValidator(_postgres_url)]
Origins = Annotated[list[str], BeforeValidator(_origins)]
PreviewOrigin = Annotated[str, BeforeValidator(_preview_origin)]
JsonWebKeys = Annotated[str, BeforeValidator(_json_web_keys)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
BaseUrl = Annotated[str, BeforeValidator(_base_url)]
