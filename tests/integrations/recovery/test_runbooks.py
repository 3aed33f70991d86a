"""The runbooks of docs/recovery.md, performed from the first step to the last."""

from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.integrations.recovery.conftest import Person, Serve
from tests.integrations.recovery.page import TIME, USER, run, sections
from tests.support.databases import Cluster, Database

RESTORE, BULK_DELETE, LOST_ROWS = "Restore everything", "A bad bulk delete", "Lost rows"
DROPPED_TABLE = "A dropped table"


def now() -> str:
    return datetime.now(UTC).isoformat()


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    kinds = {
        heading: [block.kind for block in found] for heading, found in sections().items() if found
    }
    assert kinds == {
        BULK_DELETE: ["sql", "sh", "text", "sh"],
        LOST_ROWS: ["sh", "sh"],
        DROPPED_TABLE: ["sh", "sh"],
        "Back up": ["sh"],
        RESTORE: ["sh", "sh", "sh"],
    }


@pytest.fixture
def past(admin: Database, owned_database: Database, cluster: Cluster) -> Generator[Database]:
    """An empty database of the same owner, for a backup."""
    owner = conninfo_to_dict(owned_database.admin_url)["user"]
    with cluster.clone("template0") as clone:
        clone.query(f"ALTER DATABASE {clone.name} OWNER TO {owner}")
        yield Database(clone.name, clone.app_url, cluster.url(clone.name, str(owner), "plain"))
        clone.query(f"REASSIGN OWNED BY {owner} TO postgres")


def back_up(admin: Database, owned: Database, folder: Path) -> None:
    owner = conninfo_to_dict(owned.admin_url)["user"]
    [command] = sections()["Back up"]
    admin.query(f"ALTER ROLE {owner} BYPASSRLS")
    run(command, folder, {}, DATABASE_URL_UNPOOLED=owned.admin_url)
    admin.query(f"ALTER ROLE {owner} NOBYPASSRLS")


def test_a_bad_bulk_delete(
    admin: Database, owned_database: Database, serve: Serve, tmp_path: Path
) -> None:
    ada, bob = (Person(serve(admin), user) for user in ("ada", "bob"))
    wanted, unwanted, erased = ada.create("wanted", "unwanted", "erased")
    later = ada.create("a", "b", "c")
    bobs = bob.create("Bob's")
    assert ada.request("DELETE", f"/{unwanted}").status_code == 204
    before_loss = now()
    old = ada.request("GET", f"/{later[0]}").headers["etag"]
    for id_ in later:
        assert ada.request("DELETE", f"/{id_}").status_code == 204
    ada.request("DELETE", f"/{erased}?permanent=true")
    bob.request("DELETE", f"/{bobs[0]}")
    for person in (ada, bob):
        person.follow()
    assert ada.copy == {wanted: "wanted"}

    find, restore, printed, restore_all = sections()[BULK_DELETE]
    url = {"DATABASE_URL_UNPOOLED": owned_database.admin_url}
    found = run(find, tmp_path, {USER: "ada"}, **url)
    # One or two minutes: the deletions, and those with their text.
    counts = [line.split("|")[1:] for line in found.splitlines() if "|" in line]
    assert [sum(map(int, column)) for column in zip(*counts, strict=True)] == [5, 4]
    output = run(restore, tmp_path, {TIME: before_loss, USER: "ada"}, **url)
    assert output == printed.text.replace(USER, "ada")

    restored = dict(zip(later, "abc", strict=True)) | {wanted: "wanted"}
    assert ada.tasks() == restored
    assert ada.follow() == 3
    assert ada.copy == restored
    # Versions from before the loss are not current.
    stale = ada.request("PUT", f"/{later[0]}", {"title": "x"}, If_Match=old)
    assert stale.status_code == 412
    # Nothing of the other user was touched.
    assert bob.tasks() == {}
    output = run(restore_all, tmp_path, {TIME: before_loss}, **url)
    assert output == "bob: restored 1 tasks from the trash and 0 from the backup.\n"
    assert bob.follow() == 1
    assert bob.tasks() == bob.copy == {bobs[0]: "Bob's"}


def test_lost_rows(
    admin: Database,
    owned_database: Database,
    past: Database,
    serve: Serve,
    tmp_path: Path,
) -> None:
    ada, bob, eve = (Person(serve(admin), user) for user in ("alice", "bob", "eve"))
    kept, edited, thrown, erased, truncated = ada.create(
        "kept", "edited", "thrown away", "erased", "truncated"
    )
    bobs = bob.create("Bob's")
    eve.create("Eve's")
    back_up(admin, owned_database, tmp_path)

    # After the backup, and before the loss.
    ada.request("DELETE", f"/{thrown}")
    ada.request("PUT", f"/{edited}", {"title": "edited since"})
    [new] = ada.create("new")
    for person in (ada, bob):
        person.follow()
    before_loss = now()
    ada.request("DELETE", f"/{erased}?permanent=true")
    admin.query("ALTER TABLE tasks DISABLE TRIGGER after_delete")
    admin.query("DELETE FROM tasks WHERE id = %s", truncated)
    admin.query("ALTER TABLE tasks ENABLE TRIGGER after_delete")
    admin.query("DELETE FROM users WHERE id IN ('bob', 'eve')")

    restore, migrate, _ = sections()[RESTORE]
    for block in (restore, migrate):
        run(block, tmp_path, {}, NEW_URL=past.admin_url)
    copy_users, copy_tasks = sections()[LOST_ROWS]
    urls = {"DATABASE_URL_UNPOOLED": owned_database.admin_url, "BACKUP_URL": past.admin_url}
    run(copy_users, tmp_path, {}, **urls)
    output = run(copy_tasks, tmp_path, {TIME: before_loss}, **urls)
    assert output.splitlines() == [
        "alice: restored 0 tasks from the trash and 2 from the backup.",
        "bob: restored 0 tasks from the trash and 1 from the backup.",
    ]
    restored = {
        kept: "kept", edited: "edited since", new: "new", erased: "erased", truncated: "truncated"
    }  # fmt: skip
    assert ada.tasks() == restored
    ada.follow()
    assert ada.copy == restored
    # The row of this user was deleted, so a client has to start again.
    assert bob.request("GET", f"/changes?since={bob.token}").status_code == 410
    bob.token, bob.copy = "", {}
    bob.follow()
    assert bob.tasks() == bob.copy == {bobs[0]: "Bob's"}
    # Who was erased is not brought back, and the trash is as it was.
    assert admin.query("SELECT id FROM users ORDER BY 1") == [("alice",), ("bob",)]
    assert admin.query("SELECT id FROM deleted_tasks") == [(thrown,)]
    # Ids of later tasks do not meet the restored ones.
    assert max(ada.create("next")) > max(restored)


def test_a_dropped_table(
    admin: Database, owned_database: Database, past: Database, serve: Serve, tmp_path: Path
) -> None:
    ada, bob = (Person(serve(admin), user) for user in ("ada", "bob"))
    kept, thrown, deleted = ada.create("kept", "thrown away", "deleted since")
    ada.request("DELETE", f"/{thrown}")
    bobs = bob.create("Bob's", "Bob's other")
    back_up(admin, owned_database, tmp_path)
    ada.request("DELETE", f"/{deleted}")
    ada.create("gone")
    ada.follow()
    before_loss = now()
    owned_database.query("DROP TABLE tasks")
    assert ada.request("GET", "").status_code == 503

    restore, migrate, _ = sections()[RESTORE]
    for block in (restore, migrate):
        run(block, tmp_path, {}, NEW_URL=past.admin_url)
    create, new_history = sections()[DROPPED_TABLE]
    urls = {"DATABASE_URL_UNPOOLED": owned_database.admin_url, "BACKUP_URL": past.admin_url}
    run(create, tmp_path, {}, **urls)
    [new] = ada.create("new")
    assert new > max(bobs)
    _, copy_tasks = sections()[LOST_ROWS]
    output = run(copy_tasks, tmp_path, {TIME: before_loss}, **urls)
    assert output.splitlines() == [
        "ada: restored 0 tasks from the trash and 1 from the backup.",
        "bob: restored 0 tasks from the trash and 2 from the backup.",
    ]
    run(new_history, tmp_path, {}, **urls)
    assert ada.tasks() == {kept: "kept", new: "new"}
    assert bob.tasks() == dict(zip(bobs, ("Bob's", "Bob's other"), strict=True))
    # The trash is as it was, and works.
    ada.request("DELETE", f"/{kept}")
    assert [row for (row,) in admin.query("SELECT id FROM deleted_tasks ORDER BY 1")] == sorted(
        [thrown, deleted, kept]
    )
    assert ada.request("POST", f"/{kept}/restore").status_code == 200
    # The client still has the task that is gone, and has to start again.
    assert "gone" in ada.copy.values()
    assert ada.request("GET", f"/changes?since={ada.token}").status_code == 410
