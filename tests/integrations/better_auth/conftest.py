"""Fixtures of the Better Auth tests: databases and log files."""

from tests.integrations.better_auth.fixtures import deploy, logs, migrated_database, new_database

__all__ = ["deploy", "logs", "migrated_database", "new_database"]
