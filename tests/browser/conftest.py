"""The browser test uses the databases and logs of the Better Auth tests."""

from tests.better_auth.conftest import deploy, logs, migrated_database, new_database, server

__all__ = ["deploy", "logs", "migrated_database", "new_database", "server"]
