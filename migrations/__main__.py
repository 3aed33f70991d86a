"""`make migrate`: migrates the database at DATABASE_URL_UNPOOLED to the newest revision."""

import os
import sys
from pathlib import Path

from dotenv import dotenv_values

from lib.db.url import connection_parameters
from lib.settings import SettingsError, load_settings
from migrations.errors import MigrationError
from migrations.runner import migrate

__all__ = ["migrate"]

ENV_FILE = Path(__file__).parent.parent / ".env"


def main() -> None:
    try:
        _load_env_file()
        settings = load_settings()
        url = settings.DATABASE_URL_UNPOOLED or settings.DATABASE_URL
        if url is None:
            sys.exit("Set DATABASE_URL_UNPOOLED to the direct URL of the database.")
        host = str(connection_parameters(url).get("host", ""))
        if "-pooler." in host:
            sys.exit(
                "Migrations need the direct URL: set DATABASE_URL_UNPOOLED (the host without"
                " -pooler)."
            )
        print(f"Migrating {host} ...", flush=True)
        migrate(url, ca_bundle=settings.SSL_CERT_FILE, announce=_print)
    except (SettingsError, MigrationError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted: run make migrate again.")


def _load_env_file() -> None:
    """Set the variables of .env that the environment does not set.

    If the environment names a database, .env is ignored: a deployment must not migrate another
    database or depend on local settings.
    """
    if any(value for name, value in os.environ.items() if name.startswith("DATABASE_URL")):
        return
    for name, value in dotenv_values(ENV_FILE).items():
        if value and name not in os.environ:
            os.environ[name] = value


def _print(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    main()
