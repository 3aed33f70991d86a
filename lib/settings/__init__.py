"""The settings of the application, read from the environment and validated."""

from lib.settings.environment import (
    SECRET_LIFETIME,
    SECRETS,
    database_transport,
    forget_settings,
    initializes_for_snapshot,
    load_cors_settings,
    load_settings,
    runs_on_lambda,
    runs_on_vercel,
    trace_id,
)
from lib.settings.settings import (
    EXAMPLE_SECRET,
    PLATFORM_VARIABLES,
    Settings,
    SettingsError,
    read_settings,
    require,
)
from lib.settings.types import MCP_PATH

__all__ = [
    "EXAMPLE_SECRET",
    "MCP_PATH",
    "PLATFORM_VARIABLES",
    "SECRETS",
    "SECRET_LIFETIME",
    "Settings",
    "SettingsError",
    "database_transport",
    "forget_settings",
    "initializes_for_snapshot",
    "load_cors_settings",
    "load_settings",
    "read_settings",
    "require",
    "runs_on_lambda",
    "runs_on_vercel",
    "trace_id",
]
