"""What a restore does to the sessions of a Better Auth in the same database."""

import re
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.integrations.better_auth.fixtures import NewDatabase, NewLog, logs, new_database
from tests.integrations.better_auth.servers import Person, better_auth
from tests.integrations.recovery.page import PAGE, run, sections
from tests.integrations.recovery.test_runbooks import RESTORE
from tests.support.databases import Cluster

__all__ = ["logs", "new_database"]


def is_signed_in(person: Person) -> bool:
    session = person.browser.get("/api/auth/get-session").raise_for_status()
    return session.json() is not None


def test_sessions_are_as_in_the_backup_until_they_are_ended(
    new_database: NewDatabase, logs: NewLog, cluster: Cluster, tmp_path: Path
) -> None:
    first, second = new_database(), new_database()
    restore, migrate, _ = sections()[RESTORE]
    [back_up] = sections()["Back up"]
    name = str(conninfo_to_dict(first.admin)["dbname"])
    with better_auth("hs256-hook", first.admin, logs("first")) as auth:
        ada = auth.sign_up("ada@example.com")
        run(migrate, tmp_path, {}, NEW_URL=first.admin)
        # A superuser bypasses row-level security, like the role for backups.
        run(back_up, tmp_path, {}, DATABASE_URL_UNPOOLED=cluster.url(name))
        cookies = dict(ada.browser.cookies)
        ada.browser.post("/api/auth/sign-out").raise_for_status()
        assert not is_signed_in(ada)
        ada.browser.cookies.update(cookies)
        assert not is_signed_in(ada)
        bob = auth.sign_up("bob@example.com")
        assert is_signed_in(bob)

    run(restore, tmp_path, {}, NEW_URL=second.admin)
    run(migrate, tmp_path, {}, NEW_URL=second.admin)
    [statement] = re.findall(r"`(TRUNCATE session;)`", PAGE)
    with better_auth("hs256-hook", second.admin, logs("second")) as auth:
        restored = {person.id: replace(person, browser=auth.browser()) for person in (ada, bob)}
        for person in (ada, bob):
            restored[person.id].browser.cookies = person.browser.cookies
        assert is_signed_in(restored[ada.id])
        assert not is_signed_in(restored[bob.id])
        with psycopg.connect(second.admin, autocommit=True) as connection:
            connection.execute(statement.encode())
        assert not is_signed_in(restored[ada.id])
