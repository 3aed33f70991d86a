"""The environment, read once and checked: the only place that knows variable names and where
secrets come from.
"""

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lib.settings.types import (
    BaseUrl,
    HttpUrl,
    JsonWebKeys,
    Origins,
    PostgresUrl,
    PreviewOrigin,
)

# What .env.example ships. Anybody can read it, so no deployment may use it.
EXAMPLE_SECRET = "an-example-secret-for-local-use-only-0123456789"  # noqa: S105


class SettingsError(Exception):
    """The environment cannot work: one sentence per fault, each naming its variable."""


class Settings(BaseModel):
    """What the environment says. Lengths are in bytes, durations in seconds."""

    model_config = ConfigDict(
        frozen=True, hide_input_in_errors=True, ignored_types=(cached_property,)
    )

    VERCEL: str | None = None
    VERCEL_ENV: str | None = None
    VERCEL_URL: str | None = None
    AWS_LAMBDA_RUNTIME_API: str | None = None

    DATABASE_URL: PostgresUrl | None = Field(default=None, repr=False)
    DATABASE_URL_UNPOOLED: PostgresUrl | None = Field(default=None, repr=False)
    SSL_CERT_FILE: str | None = None

    BETTER_AUTH_SECRET: str | None = Field(default=None, repr=False)
    BETTER_AUTH_SECRET_PREVIOUS: str | None = Field(default=None, repr=False)
    JWT_ALGORITHM: Literal["HS256", "EdDSA", "ES256", "RS256"] = "HS256"
    JWKS_URL: HttpUrl | None = None
    JWKS: JsonWebKeys | None = None
    JWT_ISSUER: str | None = None
    JWT_AUDIENCE: str | None = None
    JWT_MAX_LIFETIME: Annotated[int, Field(ge=60)] | None = None

    CORS_ORIGINS: Origins = []
    CORS_PREVIEW_ORIGIN: PreviewOrigin | None = None
    CORS_ALLOW_CREDENTIALS: bool = False

    PROVISION_USERS: bool = True
    DOCS_ENABLED: bool = True
    CRON_SECRET: Annotated[str, Field(min_length=16)] | None = Field(default=None, repr=False)
    SMOKE_BASE_URL: BaseUrl | None = None
    SMOKE_TOKEN: str | None = Field(default=None, repr=False)
    SMOKE_OTHER_TOKEN: str | None = Field(default=None, repr=False)
    SMOKE_TOKEN_URL: HttpUrl | None = None
    VERCEL_AUTOMATION_BYPASS_SECRET: str | None = Field(default=None, repr=False)
    POWERTOOLS_METRICS_NAMESPACE: str = "task-api"
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    @property
    def platform(self) -> Literal["vercel", "lambda", "local"]:
        # Vercel sets AWS_* names too, so it is asked first; no emulator sets the runtime API.
        if self.VERCEL:
            return "vercel"
        return "lambda" if self.AWS_LAMBDA_RUNTIME_API else "local"

    @property
    def max_response_bytes(self) -> int | None:
        """The bytes of a body that the platform sends at most; beyond them clients get its 500."""
        return {"lambda": 6 * 1024 * 1024 - 16 * 1024, "vercel": 4_500_000}.get(self.platform)

    @property
    def shared_secrets(self) -> list[str]:
        """The HS256 secrets that are accepted, the current one first."""
        return [s for s in (self.BETTER_AUTH_SECRET, self.BETTER_AUTH_SECRET_PREVIOUS) if s]

    @cached_property
    def cursor_keys(self) -> list[bytes]:
        """The first signs paging cursors: made from secrets that every instance shares."""
        secrets = self.shared_secrets or [self.DATABASE_URL]
        return [sha256(f"cursor:{secret}".encode()).digest() for secret in secrets]

    @model_validator(mode="before")
    @classmethod
    def default_origin_of_local_use(cls, values: dict[str, str]) -> dict[str, str]:
        if not values.get("VERCEL") and not values.get("AWS_LAMBDA_RUNTIME_API"):
            return {"CORS_ORIGINS": "http://localhost:3000", **values}
        return values

    @model_validator(mode="after")
    def refuse_previews_in_production(self) -> Self:
        if self.CORS_PREVIEW_ORIGIN and self.VERCEL_ENV == "production":
            raise ValueError("CORS_PREVIEW_ORIGIN is for previews: unset it in production")
        return self

    @model_validator(mode="after")
    def refuse_unsafe_secrets(self) -> Self:
        if self.platform == "local":
            return self
        if self.JWKS_URL and self.JWKS_URL.startswith("http:"):
            raise ValueError("JWKS_URL must be https: who is on the way could hand out keys")
        for name in ("BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS"):
            secret = getattr(self, name)
            if secret == EXAMPLE_SECRET:
                raise ValueError(
                    f"{name} is the example secret: make one with openssl rand -hex 32"
                )
            if secret and len(secret.encode()) < 32:
                raise ValueError(
                    f"{name} must have at least 32 bytes: openssl rand -hex 32 makes one"
                )
        return self

    @model_validator(mode="after")
    def refuse_algorithm_without_keys(self) -> Self:
        if self.JWT_ALGORITHM == "HS256":
            if self.JWKS_URL or self.JWKS:
                raise ValueError(
                    "JWT_ALGORITHM is HS256, which uses no key set: name your tokens' algorithm"
                    " (Better Auth's default is EdDSA) or remove JWKS_URL and JWKS"
                )
            return self
        if bool(self.JWKS_URL) == bool(self.JWKS):
            raise ValueError(
                f"JWT_ALGORITHM {self.JWT_ALGORITHM} needs JWKS_URL or JWKS, one of them"
            )
        if find_spec("cryptography") is None:
            raise ValueError(
                f"JWT_ALGORITHM {self.JWT_ALGORITHM} needs the package cryptography: "
                "deploy it too (the extra named asymmetric)"
            )
        return self


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Check an environment.

    Empty values count as unset. Raises SettingsError with one sentence per fault.
    """
    known = {k: v for k in Settings.model_fields if (v := environment.get(k, "").strip())}
    try:
        return Settings.model_validate(known)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors()))) from None


def _sentence(fault: Mapping) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "bool_parsing":
        message = "must be true or false"
    name = ".".join(map(str, fault["loc"]))
    return f"{name}: {message}." if name else f"{message}."


def require(settings: Settings, *names: str) -> None:
    """Raise SettingsError with one sentence for each variable of `names` that is not set."""
    missing = [
        name
        for name in names
        if getattr(settings, name) is None
        and not (name == "BETTER_AUTH_SECRET" and settings.JWT_ALGORITHM != "HS256")
    ]
    if missing:
        raise SettingsError("\n".join(f"{name} is not set." for name in missing))
