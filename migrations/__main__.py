"""`make migrate`: migrates the database at DATABASE_URL_UNPOOLED to the newest revision."""

import sys

from lib.settings import SettingsError
from migrations.errors import MigrationError
from migrations.owner_url import describe, load_owner_url
from migrations.runner import migrate

__all__ = ["migrate"]


def main() -> None:
    try:
        url, ca_bundle = load_owner_url()
        print(f"Migrating {describe(url)} ...", flush=True)
        migrate(url, ca_bundle=ca_bundle, announce=_print)
    except (SettingsError, MigrationError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Interrupted: run make migrate again.")


def _print(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    main()
