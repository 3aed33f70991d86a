"""The page's backup and restore of a whole database, and what clients notice afterwards."""

from collections.abc import Generator
from pathlib import Path

import pytest

from dev import postgres
from dev.local_database import PASSWORD, ROLE, create_app_role
from tests.conftest import bearer
from tests.integrations.recovery.conftest import Person, Serve
from tests.integrations.recovery.page import run, sections
from tests.integrations.recovery.test_runbooks import RESTORE, back_up
from tests.support.databases import Database

NEW_KEY, OLD_KEY = "first-used-after-the-backup", "first-used-before-the-backup"


@pytest.fixture
def new_database(other_server: postgres.Server) -> Generator[Database]:
    """An empty database of another server, by an owner without special rights."""
    server = Database("postgres", "", other_server.url())
    server.query("CREATE ROLE task_api NOLOGIN")
    server.query("CREATE DATABASE restored OWNER owner")
    restored = other_server.url("restored", user=ROLE, password=PASSWORD)
    owner = other_server.url("restored", user="owner", password="plain")
    yield Database("restored", restored, owner)
    server.query("DROP DATABASE restored WITH (FORCE)")
    server.query(f"DROP ROLE {ROLE}, task_api")


def test_clients_notice_what_the_page_says(
    admin: Database,
    owned_database: Database,
    new_database: Database,
    other_server: postgres.Server,
    serve: Serve,
    tmp_path: Path,
) -> None:
    ada, erased = (Person(serve(admin), user) for user in ("ada", "erased"))
    [same, changed] = ada.create("same", "changed")
    [first] = ada.create("by key", Idempotency_Key=OLD_KEY)
    erased.create("private")
    same_etag = ada.request("GET", f"/{same}").headers["etag"]
    back_up(admin, owned_database, tmp_path)

    ada.request("PUT", f"/{changed}", {"title": "changed since"})
    changed_etag = ada.request("GET", f"/{changed}").headers["etag"]
    [lost] = ada.create("lost", Idempotency_Key=NEW_KEY)
    admin.query("DELETE FROM users WHERE id = 'erased'")
    ada.follow()
    # The role of the API, which the restored database gets in the last step.
    restore, migrate, new_history = sections()[RESTORE]
    for block in (restore, migrate, new_history):
        run(block, tmp_path, {}, NEW_URL=new_database.admin_url)
    create_app_role(other_server.url("restored"))

    again = Person(serve(new_database), "ada")
    assert again.tasks() == {same: "same", changed: "changed", first: "by key"}
    # The same state, the same ETag; another state is not overwritten.
    edited = {"title": "edited"}
    assert again.request("PUT", f"/{changed}", edited, If_Match=changed_etag).status_code == 412
    assert again.request("GET", f"/{same}").headers["etag"] == same_etag
    assert again.request("PUT", f"/{same}", edited, If_Match=same_etag).status_code == 200
    # Keys of the backup and later ones. The new task gets the id of the lost one.
    assert again.create("lost", Idempotency_Key=NEW_KEY) == [lost]
    assert again.create("by key", Idempotency_Key=OLD_KEY) == [first]
    assert set(again.tasks()) == {same, changed, first, lost}
    # The copy of the follower differs from the tasks: it has to start again.
    expired = again.api.get(f"/api/tasks/changes?since={ada.token}", headers=bearer("ada"))
    assert expired.status_code == 410, expired.text
    again.follow()
    assert again.copy == again.tasks()
    assert again.follow() == 0
    # Who was erased since the backup is back.
    assert list(Person(again.api, "erased").tasks().values()) == ["private"]
