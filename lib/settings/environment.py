"""The environment of this process: read once, checked, and read again when AWS rotates a secret."""

import os
import sys
import time
from collections.abc import Mapping

from lib.settings.settings import Settings, SettingsError, read_settings

# The variables that may instead name an SSM parameter (..._PARAMETER) or a secret (..._SECRET_ARN).
SECRETS = (
    "DATABASE_URL",
    "DATABASE_URL_UNPOOLED",
    "BETTER_AUTH_SECRET",
    "BETTER_AUTH_SECRET_PREVIOUS",
    "CRON_SECRET",
    "SMOKE_TOKEN",
    "SMOKE_OTHER_TOKEN",
)
SECRET_LIFETIME = 300.0  # seconds; a rotated secret is in use everywhere after this long


def _with_secrets_of_aws(environment: Mapping[str, str]) -> dict[str, str]:
    resolved = dict(environment)
    for name in SECRETS:
        parameter = environment.get(f"{name}_PARAMETER")
        arn = environment.get(f"{name}_SECRET_ARN")
        if parameter or arn:
            # boto3 costs half a cold start: only deployments that name such a secret pay for it.
            from lib.settings.aws_secrets import (  # noqa: PLC0415
                SecretUnavailable,
                read_parameter,
                read_secret,
            )

            try:
                resolved[name] = read_parameter(parameter) if parameter else read_secret(arn or "")
            except SecretUnavailable as error:
                raise SettingsError(f"{name}: {error}.") from error
    return resolved


_loaded: tuple[Settings, float] | None = None


def runs_on_lambda() -> bool:
    """Whether the real Lambda runtime started this process."""
    return bool(os.environ.get("AWS_LAMBDA_RUNTIME_API"))


def initializes_for_snapshot() -> bool:
    """Whether what this process holds after its start is kept, and restored many times."""
    return os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"


def trace_id() -> str | None:
    """The id by which X-Ray knows this invocation, out of `Root=<id>;Parent=...;Sampled=0`."""
    root = os.environ.get("_X_AMZN_TRACE_ID", "").partition(";")[0]
    return root.removeprefix("Root=") or None


def load_settings() -> Settings:
    """The settings of this process; secrets that AWS holds are read again when they are too old.

    Raises SettingsError.
    """
    global _loaded  # noqa: PLW0603 - one cached value, replaced as a whole
    now = time.time()
    if _loaded is not None and now < _loaded[1]:
        return _loaded[0]
    from_aws = any(k.endswith(("_PARAMETER", "_SECRET_ARN")) and os.environ[k] for k in os.environ)
    try:
        settings = read_settings(_with_secrets_of_aws(os.environ) if from_aws else os.environ)
    except SettingsError:
        if _loaded is None:
            raise
        settings = _loaded[0]  # AWS is slow or away: the last good values go on
    _loaded = settings, now + SECRET_LIFETIME if from_aws else float("inf")
    return settings


def forget_settings() -> None:
    """Read the environment again at the next use: after a restore from a snapshot, and in tests."""
    global _loaded  # noqa: PLW0603
    _loaded = None
    if "lib.settings.aws_secrets" in sys.modules:
        sys.modules["lib.settings.aws_secrets"].forget()


def load_cors_settings() -> Settings:
    """Read the CORS settings alone, for responses while other settings are invalid.

    Raises SettingsError.
    """
    others = {
        name for name in Settings.model_fields if not name.startswith(("CORS_", "VERCEL", "AWS_"))
    }
    return read_settings({name: text for name, text in os.environ.items() if name not in others})
