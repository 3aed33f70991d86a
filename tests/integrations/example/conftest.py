"""Fixtures of the tests of the example: databases and log files."""

from tests.integrations.better_auth.fixtures import deploy, logs, migrated_database, new_database

__all__ = ["deploy", "logs", "migrated_database", "new_database"]
