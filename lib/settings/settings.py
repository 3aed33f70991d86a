"""Every environment variable that the application reads, with its type and its rules."""

from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from lib.settings.database_url import (
    is_this_machine,
    parse_database_url,
    redirecting_variable,
)
from lib.settings.types import (
    BaseUrl,
    FilePath,
    HeaderText,
    HttpUrl,
    JsonWebKeys,
    McpResource,
    Origins,
    PostgresUrl,
    PreviewOrigin,
    one_of,
)

# The secret in .env.example. It is public, so no deployment may use it.
EXAMPLE_SECRET = "an-example-secret-for-local-use-only-0123456789"  # noqa: S105
LOCAL_ORIGIN = "http://localhost:3000"  # the default of CORS_ORIGINS in local use
# If one of these variables is set, a platform runs the process. Emulators set none of them.
PLATFORM_VARIABLES = (
    "VERCEL",
    "AWS_LAMBDA_RUNTIME_API",
    "ECS_CONTAINER_METADATA_URI_V4",  # Amazon ECS, AWS Fargate
    "KUBERNETES_SERVICE_HOST",
    "NOMAD_ALLOC_ID",
    "VCAP_APPLICATION",  # Cloud Foundry
    "K_SERVICE",  # Google Cloud Run, Knative
    "CLOUD_RUN_JOB",
    "GAE_SERVICE",  # Google App Engine
    "WEBSITE_SITE_NAME",  # Azure App Service and Functions
    "CONTAINER_APP_NAME",  # Azure Container Apps
    "FLY_APP_NAME",
    "DYNO",  # Heroku
    "RAILWAY_ENVIRONMENT_NAME",
    "RENDER",
    "KOYEB_APP_NAME",
    "PLATFORM_APPLICATION_NAME",  # Platform.sh
    "SPACE_ID",  # Hugging Face Spaces
)
DATABASE_URLS = ("DATABASE_URL", "DATABASE_URL_UNPOOLED")
# Better Auth uses these secrets too, without trimming them.
SHARED_SECRETS = ("BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS")
# Straight, typographic and full-width quotation marks, and the backtick.
QUOTATION_MARKS = tuple(
    "\"'`\u00b4\u00ab\u00bb\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\uff02\uff07"
)


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
    DATABASE_TRANSPORT: Annotated[Literal["postgres", "http"], one_of("postgres", "http")] = (
        "postgres"
    )
    DATABASE_HTTP_URL: BaseUrl | None = None
    DATABASE_PREPARED_STATEMENTS: bool = True
    DATABASE_POOL_SIZE: Annotated[int, Field(ge=1, le=100)] | None = None
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

    MCP_RESOURCE: McpResource | None = None
    MCP_AUTHORIZATION_SERVER: BaseUrl | None = None

    CORS_ORIGINS: Origins = []
    CORS_PREVIEW_ORIGIN: PreviewOrigin | None = None
    CORS_ALLOW_CREDENTIALS: bool = False

    PROVISION_USERS: bool = True
    DOCS_ENABLED: bool = True
    CRON_SECRET: Annotated[HeaderText, Field(min_length=16)] | None = Field(
        default=None, repr=False
    )
    SMOKE_BASE_URL: BaseUrl | None = None
    SMOKE_TOKEN: HeaderText | None = Field(default=None, repr=False)
    SMOKE_OTHER_TOKEN: HeaderText | None = Field(default=None, repr=False)
    SMOKE_TOKEN_URL: HttpUrl | None = None
    VERCEL_AUTOMATION_BYPASS_SECRET: HeaderText | None = Field(default=None, repr=False)
    POWERTOOLS_METRICS_NAMESPACE: str = "task-api"
    LOG_LEVEL: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    ] = "INFO"

    # The first of PLATFORM_VARIABLES that is set.
    _platform_variable: str | None = PrivateAttr(default=None)

    def model_post_init(self, context: dict[str, str | None] | None, /) -> None:
        self._platform_variable = context["platform_variable"] if context else None

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
        """Whether this is local use and not a deployment."""
        return self.deployment_reason is None

    @cached_property
    def deployment_reason(self) -> str | None:
        """Why this is a deployment, as a clause. None in local use.

        Local use means that the databases, if any, are on this machine and that no variable of a
        platform is set.
        """
        if self._platform_variable:
            return f"{self._platform_variable} is set"
        for name in DATABASE_URLS:
            url = getattr(self, name)
            if url and not parse_database_url(url).is_local:
                return f"{name} names another machine"
        if self.DATABASE_HTTP_URL and not _is_of_this_machine(self.DATABASE_HTTP_URL):
            return "DATABASE_HTTP_URL names another machine"
        return None

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
                    f"{name} is the public example secret, which a deployment must not use:"
                    " generate one with openssl rand -hex 32 (this is a deployment because"
                    f" {self.deployment_reason})"
                )
            if secret and len(secret.encode()) < 32:
                raise ValueError(
                    f"{name} must have at least 32 bytes: generate one with openssl rand -hex 32"
                )
        return self

    @model_validator(mode="after")
    def refuse_unusable_transport(self) -> Self:
        if not self.DATABASE_URL:
            return self
        if self.DATABASE_TRANSPORT == "postgres":
            if find_spec("psycopg") is None:
                raise ValueError(
                    "DATABASE_TRANSPORT=postgres needs the package psycopg, which this build does"
                    " not contain: set DATABASE_TRANSPORT=http, or build again without"
                    " TRANSPORT=http"
                )
            return self
        database = parse_database_url(self.DATABASE_URL)
        if not (database.user and database.password and database.database):
            raise ValueError(
                "DATABASE_URL must have a user, a password and the name of a database for"
                " DATABASE_TRANSPORT=http"
            )
        if not self.DATABASE_HTTP_URL and not database.host.lower().endswith(".neon.tech"):
            raise ValueError(
                "DATABASE_TRANSPORT=http is for hosts of Neon: for another host, set"
                " DATABASE_HTTP_URL to the URL of its endpoint"
            )
        if self.DATABASE_HTTP_URL:
            url = self.DATABASE_HTTP_URL
            if url.startswith("http:") and not _is_of_this_machine(url):
                raise ValueError(
                    "DATABASE_HTTP_URL must be https: over http, others can read the password"
                )
        return self

    @model_validator(mode="after")
    def refuse_incomplete_authorization_of_mcp(self) -> Self:
        names = ("MCP_RESOURCE", "MCP_AUTHORIZATION_SERVER")
        missing = [name for name in names if getattr(self, name) is None]
        if len(missing) == 1:
            raise ValueError(f"{missing[0]} is not set: set both {' and '.join(names)}, or neither")
        for name in names if not missing and not self.is_local else ():
            if getattr(self, name).startswith("http:"):
                raise ValueError(
                    f"{name} must be https in a deployment: over http, others can read the tokens"
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


def _is_of_this_machine(url: str) -> bool:
    return is_this_machine(urlsplit(url).hostname or "")


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
        if fault := _fault_of_text(name, text):
            faults.append(fault)
    if faults:
        raise SettingsError("\n".join(faults))
    on_platform = (name for name in PLATFORM_VARIABLES if environment.get(name))
    context = {"platform_variable": next(on_platform, None)}
    try:
        settings = Settings.model_validate(known, context=context)
    except ValidationError as error:
        raise SettingsError("\n".join(map(_sentence, error.errors()))) from None
    for name in DATABASE_URLS:
        url = getattr(settings, name)
        if url and (variable := redirecting_variable(parse_database_url(url), environment)):
            raise SettingsError(
                f"{variable} makes {name} lead to another machine: name the host in {name} and"
                f" unset {variable}."
            )
    if settings.is_local and "CORS_ORIGINS" not in known:
        return settings.model_copy(update={"CORS_ORIGINS": [LOCAL_ORIGIN]})
    return settings


def _fault_of_text(name: str, text: str) -> str | None:
    """Return a sentence about marks that were pasted with a value, or None if there are none."""
    value = text.strip()
    if value.startswith(f"{name}="):
        return f"{name} begins with its own name and an equals sign: set only what follows."
    if not all(character.isprintable() or character.isspace() for character in value):
        return (
            f"{name} contains a character that is not visible, such as a zero-width space: type it"
            " again."
        )
    if value.startswith(QUOTATION_MARKS) or value.endswith(QUOTATION_MARKS):
        return (
            f"{name} begins or ends with a quotation mark, which would be part of the value: set it"
            " without."
        )
    if value.endswith(("\\n", "\\r", "\\t")):
        return (
            f"{name} ends with a backslash and a letter, as in \\n, instead of a line break: set it"
            " without."
        )
    if name in SHARED_SECRETS and text != value:
        return (
            f"{name} begins or ends with white space, which Better Auth would use as part of the"
            " secret: set it without the white space."
        )
    return None


def _sentence(fault: Mapping) -> str:
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "bool_parsing":
        message = "must be true or false"
    elif fault["type"] == "too_short":
        message = f"must have at least {fault['ctx']['min_length']} characters"
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
