"""`make migrate`: brings a database to the newest revision, on its direct URL."""

import sys
from urllib.parse import urlsplit

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import OperationalError

from lib.database import connection_parameters
from lib.settings import SettingsError, load_settings


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration for this folder."""
    config = Config()
    config.set_main_option("script_location", "migrations")
    config.attributes["connection"] = connection
    return config


def migrate(url: str) -> tuple[str | None, list[str]]:
    """Apply what is pending. Gives the revision found and the revisions applied, oldest first."""
    engine = create_engine(
        "postgresql+psycopg://", connect_args=connection_parameters(url), poolclass=NullPool
    )
    with engine.connect() as connection:
        config = configuration(connection)
        scripts = ScriptDirectory.from_config(config)
        found = MigrationContext.configure(connection).get_current_revision()
        pending = [
            script.revision for script in scripts.iterate_revisions("heads", found) if script
        ]
        connection.rollback()
        command.upgrade(config, "head")
        connection.commit()
    return found, pending[::-1]


def main() -> None:
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(str(error))
    url = settings.DATABASE_URL_UNPOOLED or settings.DATABASE_URL
    if url is None:
        sys.exit("Set DATABASE_URL_UNPOOLED to the direct URL of the database.")
    host = urlsplit(url).hostname or ""
    if "-pooler." in host:
        sys.exit(
            "Migrations need the direct URL: set DATABASE_URL_UNPOOLED (the host without -pooler)."
        )
    print(f"Migrating {host} ...", flush=True)
    try:
        found, applied = migrate(url)
    except OperationalError as error:
        sys.exit(f"The migration did not run: {str(error.orig).splitlines()[0]}")
    print(f"Was at revision {found or 'none'}; applied {', '.join(applied) or 'nothing'}.")


if __name__ == "__main__":
    main()
