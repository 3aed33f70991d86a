"""`make migrate`: brings a database to the newest revision, on its direct URL."""

import sys
import time
from collections.abc import Callable

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import OperationalError

from lib.db.url import connection_parameters
from lib.settings import SettingsError, load_settings
from lib.settings.database_url import parse_database_url

# Seconds: how long tables may stay locked by others, and how long requests go first.
PATIENCE, PAUSE = 60.0, 1.0


def migrate(
    url: str,
    *,
    scripts: str = "migrations",
    revision: str = "head",
    announce: Callable[[str | None, list[str]], None] = lambda *_: None,
) -> None:
    """Apply what is pending up to `revision`, all of it or nothing.

    `announce` is told the current revision and the pending ones, oldest first, before anything
    changes. Raises sqlalchemy.exc.OperationalError, also when a table stays locked for a minute.
    """
    engine = create_engine(
        "postgresql+psycopg://", connect_args=connection_parameters(url), poolclass=NullPool
    )
    with engine.connect() as connection:
        config = Config()
        config.set_main_option("script_location", scripts)
        config.attributes["connection"] = connection
        directory = ScriptDirectory.from_config(config)
        current = MigrationContext.configure(connection).get_current_revision()
        pending = [each.revision for each in directory.iterate_revisions(revision, current) if each]
        connection.rollback()
        announce(current, pending[::-1])
        _upgrade(connection, config, revision)


def _upgrade(connection: Connection, config: Config, revision: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            command.upgrade(config, revision)
            connection.commit()
        except OperationalError as error:
            connection.rollback()
            locked = isinstance(error.orig, LockNotAvailable)
            if not locked or time.monotonic() >= give_up:
                raise
            time.sleep(PAUSE)  # requests that queued behind us go first
        else:
            return


def main() -> None:
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(str(error))
    url = settings.DATABASE_URL_UNPOOLED or settings.DATABASE_URL
    if url is None:
        sys.exit("Set DATABASE_URL_UNPOOLED to the direct URL of the database.")
    host = parse_database_url(url).host
    if "-pooler." in host:
        sys.exit(
            "Migrations need the direct URL: set DATABASE_URL_UNPOOLED (the host without -pooler)."
        )
    print(f"Migrating {host} ...", flush=True)
    try:
        migrate(url, announce=_announce)
    except SettingsError as error:
        sys.exit(str(error))
    except OperationalError as error:
        sys.exit(f"Nothing was migrated: {str(error.orig).splitlines()[0]}")
    print("It is at the newest revision.")


def _announce(current: str | None, pending: list[str]) -> None:
    words = f"Current revision: {current or 'none'}; pending: {', '.join(pending) or 'none'}."
    print(words, flush=True)


if __name__ == "__main__":
    main()
