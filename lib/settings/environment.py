"""Loads the settings of this process. Secrets that AWS stores are read again every few minutes."""

import logging
import os
import sys
import time
from collections.abc import Mapping

from lib.settings.settings import DATABASE_URLS, Settings, SettingsError, read_settings

# Each may be replaced by NAME_PARAMETER, the name of an SSM parameter, or by NAME_SECRET_ARN, the
# ARN of a secret in Secrets Manager.
SECRETS = (
    "DATABASE_URL",
    "DATABASE_URL_UNPOOLED",
    "BETTER_AUTH_SECRET",
    "BETTER_AUTH_SECRET_PREVIOUS",
    "CRON_SECRET",
    "SMOKE_TOKEN",
    "SMOKE_OTHER_TOKEN",
)
SECRET_LIFETIME = 300.0  # seconds until every process uses a rotated secret
# Seconds until the next attempt after a failed one. A request waits for each attempt, up to 6 s for
# each secret.
RETRY_INTERVAL = 30.0

# This module cannot use lib.log, which imports it. Secrets are read again only on AWS, where the
# runtime writes records of `logging` as JSON too.
_logger = logging.getLogger(__name__)


def _uses_aws(environment: Mapping[str, str]) -> bool:
    return any(
        environment.get(f"{name}{suffix}")
        for name in SECRETS
        for suffix in ("_PARAMETER", "_SECRET_ARN")
    )


def _with_aws_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    # Importing boto3 takes as long as half of a cold start, so only deployments that name such a
    # secret import it.
    from lib.settings.aws_secrets import (  # noqa: PLC0415
        SecretUnavailable,
        read_parameter,
        read_secret,
    )

    resolved = dict(environment)
    for name in SECRETS:
        for variable, read in (
            (f"{name}_PARAMETER", read_parameter),
            (f"{name}_SECRET_ARN", read_secret),
        ):
            if of_aws := environment.get(variable):
                try:
                    resolved[name] = read(of_aws)
                except SecretUnavailable as error:
                    raise SettingsError(f"{variable}: {error}.") from error
                break
    return resolved


_loaded: tuple[Settings, float] | None = None  # and the time of the next read


def runs_on_lambda() -> bool:
    """Whether the real Lambda runtime started this process."""
    return bool(os.environ.get("AWS_LAMBDA_RUNTIME_API"))


def runs_on_vercel() -> bool:
    """Whether Vercel runs this process."""
    return bool(os.environ.get("VERCEL"))


def database_transport() -> str:
    """The value of DATABASE_TRANSPORT, before the settings are read and validated."""
    return os.environ.get("DATABASE_TRANSPORT", "").strip().lower()


def initializes_for_snapshot() -> bool:
    """Whether Lambda takes a SnapStart snapshot of this process after its start."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


def trace_id() -> str | None:
    """The X-Ray trace id of this invocation, from `Root=<id>;Parent=...;Sampled=0`."""
    root = os.environ.get("_X_AMZN_TRACE_ID", "").partition(";")[0]
    return root.removeprefix("Root=") or None


def load_settings() -> Settings:
    """Return the settings of this process. Secrets from AWS are read again after `SECRET_LIFETIME`.

    If that fails, the process logs a warning, keeps the values that it has and tries again after
    `RETRY_INTERVAL`. Raises SettingsError if it has no values yet.
    """
    global _loaded  # noqa: PLW0603 - one cached value, replaced as a whole
    now = time.time()
    if _loaded is not None and now < _loaded[1]:
        return _loaded[0]
    from_aws = _uses_aws(os.environ)
    lifetime = SECRET_LIFETIME if from_aws else float("inf")
    try:
        settings = read_settings(_with_aws_secrets(os.environ) if from_aws else os.environ)
    except SettingsError as error:
        if _loaded is None:
            raise
        settings, lifetime = _loaded[0], RETRY_INTERVAL
        _logger.warning(
            "Secrets could not be read again. The previous values stay in use. %s",
            " ".join(str(error).splitlines()),
        )
    _loaded = settings, now + lifetime
    return settings


def forget_settings() -> None:
    """Make the next call of `load_settings` read the environment again.

    For the restore of a snapshot, and for tests.
    """
    global _loaded  # noqa: PLW0603
    _loaded = None
    if "lib.settings.aws_secrets" in sys.modules:
        sys.modules["lib.settings.aws_secrets"].forget()


def load_cors_settings() -> Settings:
    """Read the CORS settings and what they depend on, while other settings are invalid.

    Raises SettingsError.
    """
    prefixes = ("CORS_", "VERCEL", "AWS_", "DATABASE_")
    others = {name for name in Settings.model_fields if not name.startswith(prefixes)}
    environment = {name: text for name, text in os.environ.items() if name not in others}
    try:
        return read_settings(environment)
    except SettingsError:
        # If a setting of the database is invalid, it is unknown whether the database is on this
        # machine. So the defaults of local use, such as its origin, must not apply.
        unknown = {n: "postgresql://unknown.invalid" for n in DATABASE_URLS if environment.get(n)}
        others = {n: text for n, text in environment.items() if not n.startswith("DATABASE_")}
        return read_settings(others | unknown)
