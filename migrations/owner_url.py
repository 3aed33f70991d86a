"""Reads the URL of the tables' owner from the environment or .env."""

import os
from pathlib import Path

from dotenv import dotenv_values

from lib.db.url import connection_parameters
from lib.settings import load_settings
from migrations.errors import MigrationError

ENV_FILE = Path(__file__).parent.parent / ".env"


def load_owner_url(*, explicit: bool = False) -> tuple[str, str | None]:
    """Return the direct URL of the database, and the file of CA certificates if one is set.

    Where `explicit`, DATABASE_URL does not take the place of a direct URL that is missing or empty:
    it may name another database. Raises SettingsError, and MigrationError if no URL is set.
    """
    if explicit and os.environ.get("DATABASE_URL_UNPOOLED", "unset").strip() == "":
        raise MigrationError(
            "DATABASE_URL_UNPOOLED is empty: set it to the direct URL of the database."
        )
    load_env_file()
    settings = load_settings()
    url = settings.DATABASE_URL_UNPOOLED or (None if explicit else settings.DATABASE_URL)
    if url is None:
        hint = "" if explicit else " The database of make dev is migrated when make dev starts."
        raise MigrationError(f"Set DATABASE_URL_UNPOOLED to the direct URL of the database.{hint}")
    check_direct(url)
    return url, settings.SSL_CERT_FILE


def host_of(url: str) -> str:
    return str(connection_parameters(url).get("host", ""))


def check_direct(url: str, name: str = "DATABASE_URL_UNPOOLED") -> None:
    """Raise MigrationError if this is the URL of Neon's pooler, SettingsError if it is none."""
    if "-pooler." in host_of(url):
        raise MigrationError(
            f"This command needs the direct URL: set {name} (the host without -pooler)."
        )


def describe(url: str) -> str:
    """The database and host that a URL names, for messages: it may not be the intended one."""
    parameters = connection_parameters(url)
    name = parameters.get("dbname") or parameters.get("user") or "the default database"
    return f"{name} at {parameters.get('host') or 'this machine'}"


def load_env_file() -> None:
    """Set the variables of .env that the environment does not set.

    If the environment names a database, .env is ignored: a deployment must not migrate another
    database or depend on local settings.
    """
    if any(value for name, value in os.environ.items() if name.startswith("DATABASE_URL")):
        return
    for name, value in dotenv_values(ENV_FILE).items():
        if value and name not in os.environ:
            os.environ[name] = value
