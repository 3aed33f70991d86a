"""Every environment variable that the application reads, with its type and its rules."""

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from lib.settings.database_url import parse_database_url
from lib.settings.types import (
    BaseUrl,
    FilePath,
    HttpUrl,
    JsonWebKeys,
    Origins,
    PostgresUrl,
    PreviewOrigin,
    one_of,
)

# The secret in .env.example. It is public, so no deployment may use it.
EXAMPLE_SECRET = "an-example-secret-for-local-use-only-0123456789"  # noqa: S105
LOCAL_ORIGIN = "http://localhost:3000"  # the default of CORS_ORIGINS in local use
# Each is set by one platform: Vercel, AWS Lambda, Amazon ECS, Google Cloud Run, Azure App Service,
# Fly.io, Heroku, Railway, Render.
PLATFORM_VARIABLES = (
    "VERCEL", "AWS_LAMBDA_RUNTIME_API", "ECS_CONTAINER_METADATA_URI_V4", "K_SERVICE",
    "WEBSITE_SITE_NAME", "FLY_APP_NAME", "DYNO", "RAILWAY_ENVIRONMENT_NAME", "RENDER",
)  # fmt: skip
# Better Auth uses these secrets too, without trimming them.
SHARED_SECRETS = ("BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS")


class SettingsError(Exception):
    """The environment is invalid. The message has one line per fault, which names the variable."""


class Settings(BaseModel):
    """The validated environment. Durations are in seconds."""

    model_config = ConfigDict(
        frozen=True, hide_input_in_errors=True, ignored_types=(cached_property,)
    )

    VERCEL: str | None = None
    VERCEL_ENV: str | None = None
    VERCEL_URL: str | None = None
    AWS_LAMBDA_RUNTIME_API: str | None = None

    DATABASE_URL: PostgresUrl | None = Field(default=None, repr=False)
    DATABASE_URL_UNPOOLED: PostgresUrl | None = Field(default=None, repr=False)
    SSL_CERT_FILE: FilePath | None = None

    BETTER_AUTH_SECRET: str | None = Field(default=None, repr=False)
    BETTER_AUTH_SECRET_PREVIOUS: str | None = Field(default=None, repr=False)
    JWT_ALGORITHM: Annotated[
        Literal["HS256", "EdDSA", "ES256", "RS256"], one_of("HS256", "EdDSA", "ES256", "RS256")
    ] = "HS256"
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
    LOG_LEVEL: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    ] = "INFO"

    # Whether any of PLATFORM_VARIABLES is set.
    _on_platform: bool = PrivateAttr(default=False)

    def model_post_init(self, context: dict[str, bool] | None, /) -> None:
        self._on_platform = bool(context and context["on_platform"])

    @property
    def platform(self) -> Literal["vercel", "lambda", "local"]:
        """The platform, for decisions about performance. For security, see `is_local`."""
        # Vercel comes first because it runs functions on AWS. Emulators of Lambda do not set
        # AWS_LAMBDA_RUNTIME_API.
        if self.VERCEL:
            return "vercel"
        return "lambda" if self.AWS_LAMBDA_RUNTIME_API else "local"

    @cached_property
    def is_local(self) -> bool:
        """Whether the database, if any, is on this machine and no variable of a platform is set.

        Everything else is a deployment.
        """
        if self._on_platform or self.VERCEL or self.AWS_LAMBDA_RUNTIME_API:
            return False
        return self.DATABASE_URL is None or parse_database_url(self.DATABASE_URL).is_local

    @property
    def shared_secrets(self) -> list[str]:
        """The accepted HS256 secrets, the current one first."""
        return [s for s in (self.BETTER_AUTH_SECRET, self.BETTER_AUTH_SECRET_PREVIOUS) if s]

    @cached_property
    def cursor_keys(self) -> list[bytes]:
        """The keys for cursors of lists, derived from a secret that all instances share.

        The first key signs new cursors, and every key verifies.
        """
        secrets = self.shared_secrets or [self.DATABASE_URL]
        return [sha256(f"cursor:{secret}".encode()).digest() for secret in secrets]

    @model_validator(mode="after")
    def refuse_preview_origins_outside_previews(self) -> Self:
        if self.CORS_PREVIEW_ORIGIN and not self.is_local and self.VERCEL_ENV != "preview":
            raise ValueError(
                "CORS_PREVIEW_ORIGIN is for preview deployments on Vercel only: unset it here"
            )
        return self

    @model_validator(mode="after")
    def refuse_unsafe_deployment(self) -> Self:
        if self.is_local:
            return self
        if self.JWKS_URL and self.JWKS_URL.startswith("http:"):
            raise ValueError(
                "JWKS_URL must be https in a deployment: over http, others can replace the keys"
            )
        for name in SHARED_SECRETS:
            secret = getattr(self, name)
            if secret == EXAMPLE_SECRET:
                raise ValueError(
                    f"{name} is the public example secret, which only local use with a database on"
                    " this machine may have: generate one with openssl rand -hex 32"
                )
            if secret and len(secret.encode()) < 32:
                raise ValueError(
                    f"{name} must have at least 32 bytes: generate one with openssl rand -hex 32"
                )
        return self

    @model_validator(mode="after")
    def refuse_algorithm_without_keys(self) -> Self:
        if self.JWT_ALGORITHM == "HS256":
            if self.JWKS_URL or self.JWKS:
                raise ValueError(
                    "JWT_ALGORITHM is HS256, which uses no key set: set it to the algorithm of"
                    " your tokens (Better Auth's default is EdDSA) or remove JWKS_URL and JWKS"
                )
            return self
        if bool(self.JWKS_URL) == bool(self.JWKS):
            raise ValueError(f"JWT_ALGORITHM {self.JWT_ALGORITHM} needs either JWKS_URL or JWKS")
        if find_spec("cryptography") is None:
            raise ValueError(
                f"JWT_ALGORITHM {self.JWT_ALGORITHM} needs the package cryptography: "
                "deploy it too (the extra named asymmetric)"
            )
        if self.JWKS:
            # Imported here and in `require`, because only a static key set needs it.
            from lib.settings.key_set import UnusableKeySet, candidate_keys  # noqa: PLC0415

            try:
                candidate_keys(self.JWKS, self.JWT_ALGORITHM)
            except UnusableKeySet as error:
                raise ValueError(f"JWKS is unusable, {error}") from None
        return self


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and validate the settings of an environment. Empty values count as unset.

    Raises SettingsError.
    """
    known = {}
    faults = []
    for name in Settings.model_fields:
        text = environment.get(name, "")
        if not (value := text.strip()):
            continue
        known[name] = value
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            faults.append(
                f"{name} is in quotes, which would be part of the value: set it without them."
            )
        elif name in SHARED_SECRETS and text != value:
            faults.append(
                f"{name} begins or ends with white space, which Better Auth would use as part of"
                " the secret: set it without the white space."
            )
    if faults:
        raise SettingsError("\n".join(faults))
    context = {"on_platform": any(environment.get(name) for name in PLATFORM_VARIABLES)}
    try:
        settings = Settings.model_validate(known, context=context)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors()))) from None
    if settings.is_local and "CORS_ORIGINS" not in known:
        return settings.model_copy(update={"CORS_ORIGINS": [LOCAL_ORIGIN]})
    return settings


def _sentence(fault: Mapping) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "bool_parsing":
        message = "must be true or false"
    name = ".".join(map(str, fault["loc"]))
    return f"{name}: {message}." if name else f"{message}."


def require(settings: Settings, *names: str) -> None:
    """Check that the settings `names`, which one function needs, are set. Raises SettingsError.

    `BETTER_AUTH_SECRET` stands for any key that verifies tokens. Where tokens are verified with
    public keys, it may be unset, and a key set in `JWKS` must contain a usable key.
    """
    faults = [
        f"{name} is not set."
        for name in names
        if getattr(settings, name) is None
        and not (name == "BETTER_AUTH_SECRET" and settings.JWT_ALGORITHM != "HS256")
    ]
    if "BETTER_AUTH_SECRET" in names and settings.JWKS:
        from lib.settings.key_set import UnusableKeySet, read_keys  # noqa: PLC0415

        try:
            read_keys(settings.JWKS, settings.JWT_ALGORITHM)
        except UnusableKeySet as error:
            faults.append(f"JWKS is unusable, {error}.")
    if faults:
        raise SettingsError("\n".join(faults))
