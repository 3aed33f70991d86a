"""The error that a failed migration raises."""


class MigrationError(Exception):
    """One sentence that says why the database was not migrated and what to do about it."""
