"""Gives the browser test its database and logs."""

from tests.integrations.better_auth.fixtures import deploy, logs, migrated_database, new_database

__all__ = ["deploy", "logs", "migrated_database", "new_database"]
