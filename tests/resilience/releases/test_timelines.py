"""The three timelines of docs/releases.md, each from its first to its last step, under requests.

The releases are copies of this tree: `plain` as it is, `estimate` with the field that
CONTRIBUTING.md adds, `without` with code that does not use the field any more, and `contracted`
with a revision that drops its column. Each release migrates and serves from its own copy.
"""

import json
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from dev.postgres import free_port
from tests.conftest import SECRET, bearer
from tests.support.databases import Database
from tests.support.targets.local import wait_until_listening
from tests.tooling.contributor.working_copy import (
    WorkingCopy,
    apply_blocks,
    contributing_section,
    copy_tree,
)

# Without step 5, which is optional.
[NEW_FIELD, _] = contributing_section("Add a field to tasks").split("### 5. ")
DROP = '''"""Drop the estimate, which no release uses any more."""

from alembic import op

revision, down_revision = "9999", "{previous}"


def upgrade() -> None:
    op.execute("ALTER TABLE tasks DROP COLUMN estimate")
    op.execute("ALTER TABLE deleted_tasks DROP COLUMN estimate")
'''
PYTHON = Path(".venv", "bin", "python")
REVISIONS = Path("migrations", "versions")


@dataclass(frozen=True)
class Server:
    """A release that serves requests."""

    url: str
    log: Path

    def request(self, user: str, method: str, path: str, **options: object) -> httpx2.Response:
        headers = bearer(user) | dict(options.pop("headers", {}))  # ty: ignore
        return httpx2.request(
            method,
            f"{self.url}/api/{user}/tasks{path}",
            headers=headers,
            timeout=30,
            **options,  # ty: ignore
        )

    def is_ready(self) -> bool:
        return httpx2.get(f"{self.url}/api/health/ready", timeout=30).status_code == 200

    def logs(self, reason: str) -> bool:
        """Whether a line of the log has this in its reason. It may arrive after the response."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
            if any(reason in (json.loads(line).get("reason") or "") for line in lines):
                return True
            time.sleep(0.05)
        return False


class Traffic:
    """Users who create, change, toggle, list and delete tasks, at every server in `servers`.

    Each request goes to the next server, as during a deployment.
    """

    def __init__(self, *servers: Server) -> None:
        self.servers = servers
        self.statuses: Counter[int] = Counter()
        self.toggles: Counter[str] = Counter()
        self.over = threading.Event()
        self.sent = 0
        self.under_way: Counter[Server] = Counter()
        self.changed = threading.Condition()

    def request(self, user: str, method: str, path: str, **options: object) -> httpx2.Response:
        with self.changed:
            server = self.servers[self.sent % len(self.servers)]
            self.sent += 1
            self.under_way[server] += 1
        try:
            response = server.request(user, method, path, **options)
        finally:
            with self.changed:
                self.under_way[server] -= 1
                self.changed.notify_all()
        self.statuses[response.status_code] += 1
        assert response.status_code in {200, 201, 204}, response.text
        return response

    def run(self, user: str) -> None:
        kept = self.request(user, "POST", "", json={"title": "Kept"}).json()["id"]
        while not self.over.is_set():
            task = self.request(user, "POST", "", json={"title": "New"}).json()["id"]
            self.request(user, "PUT", f"/{task}", json={"title": "Changed"})
            self.request(user, "PATCH", f"/{kept}/complete")
            self.toggles[user] += 1
            self.request(user, "GET", "?limit=5&sort=updated")
            self.request(user, "DELETE", f"/{task}")

    def switch(self, *servers: Server) -> None:
        """Send requests to these servers only; return after some of them, and the last of others.

        Requests that fail end their user, so this fails too.
        """
        with self.changed:
            self.servers = servers
            enough = self.sent + 20

            def is_done() -> bool:
                others = set(+self.under_way) - set(servers)
                return self.sent >= enough and not others

            assert self.changed.wait_for(is_done, 60), "a request failed, or took too long"

    def stop(self, users: list[Future[None]]) -> None:
        self.over.set()
        for user in users:
            user.result(60)


type Start = Callable[[WorkingCopy], Server]
type Run = Callable[[Server], Traffic]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, WorkingCopy]:
    """The four releases by name, oldest first."""
    folder = tmp_path_factory.mktemp("releases")
    names = ("plain", "estimate", "without", "contracted")
    copies = {name: copy_tree(folder / name) for name in names}
    apply_blocks(copies["estimate"], NEW_FIELD)
    [revision] = (copies["estimate"].root / REVISIONS).glob("*_estimate.py")
    for name in ("without", "contracted"):
        (copies[name].root / REVISIONS / revision.name).write_text(revision.read_text())
    drop = copies["contracted"].root / REVISIONS / "9999_drop_estimate.py"
    drop.write_text(DROP.format(previous=number(revision)))
    return copies


@pytest.fixture
def database(fresh_database: Database) -> Database:
    """A database as the release `plain` has migrated it."""
    return fresh_database


def number(revision: Path) -> str:
    """The number with which the name of the file begins."""
    return revision.name.partition("_")[0]


def migrate(release: WorkingCopy, database: Database) -> tuple[int, str]:
    """Run the migrations of a release, as its deployment does; gives exit code and output."""
    return release.attempt(
        str(PYTHON), "-m", "migrations", DATABASE_URL_UNPOOLED=database.admin_url
    )


@pytest.fixture
def start(database: Database, tmp_path: Path) -> Iterator[Start]:
    """Starts a release against the database."""
    with ExitStack() as stack:
        yield lambda release: stack.enter_context(serving(release, database, tmp_path))


@contextmanager
def serving(release: WorkingCopy, database: Database, folder: Path) -> Generator[Server]:
    port, log = free_port(), folder / f"{uuid.uuid4().hex}.log"
    command = [sys.executable, "-m", "uvicorn", "dev.app:app", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--no-access-log", "--log-level", "warning"],
            cwd=release.root,
            env=release.environment(DATABASE_URL=database.app_url, BETTER_AUTH_SECRET=SECRET),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_listening(port, process)
        yield Server(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def run(database: Database) -> Iterator[Run]:
    """Starts requests of three users, which end with the test: none failed, no change is lost."""
    users = [f"user-{uuid.uuid4().hex[:8]}" for _ in range(3)]
    with ThreadPoolExecutor(len(users)) as threads:
        started: list[Traffic] = []
        futures: list[Future[None]] = []

        def begin(server: Server) -> Traffic:
            traffic = Traffic(server)
            started.append(traffic)
            futures.extend(threads.submit(traffic.run, user) for user in users)
            return traffic

        try:
            yield begin
        finally:
            for traffic in started:
                traffic.over.set()
    [traffic] = started
    traffic.stop(futures)
    kept = database.query("SELECT user_id, version - 1 FROM tasks WHERE user_id = ANY(%s)", users)
    assert dict(kept) == dict(traffic.toggles)
    assert traffic.statuses.total() > 100


NOT_PREPARED = (503, {"detail": "The database is not prepared. Run the migrations."})


def all_answers(server: Server, user: str, task: int) -> set[int]:
    """The statuses of one request of each kind."""
    requests = [
        ("POST", "", {"json": {"title": "New"}}),
        ("GET", "", {}),
        ("GET", f"/{task}", {}),
        ("PUT", f"/{task}", {"json": {"title": "Changed"}}),
        ("PATCH", f"/{task}/complete", {}),
        ("GET", "/changes", {}),
        ("DELETE", f"/{task}", {}),
        ("POST", f"/{task}/restore", {}),
    ]
    return {
        server.request(user, method, path, **options).status_code
        for method, path, options in requests
    }


def test_deploy_with_an_expanding_migration(
    releases: dict[str, WorkingCopy], database: Database, start: Start, run: Run
) -> None:
    plain = start(releases["plain"])
    traffic = run(plain)
    key = {"Idempotency-Key": "order-1"}
    before = plain.request("ada", "POST", "", json={"title": "Before"}, headers=key)
    path = f"/{before.json()['id']}"
    position = plain.request("ada", "GET", "/changes").json()["next"]

    # New code before its migration: it serves no tasks, says why, and writes nothing.
    estimate = start(releases["estimate"])
    assert httpx2.get(f"{estimate.url}/api/health", timeout=30).status_code == 200
    refused = estimate.request("ada", "GET", path)
    assert (refused.status_code, refused.json()) == NOT_PREPARED
    assert all_answers(estimate, "ada", before.json()["id"]) == {503}
    assert not estimate.is_ready()
    assert estimate.logs("missing: column deleted_tasks.estimate")
    assert plain.request("ada", "GET", path).json() == before.json()

    # 1. Migrate. The previous code serves on.
    code, output = migrate(releases["estimate"], database)
    assert code == 0, output
    [revision] = (releases["estimate"].root / REVISIONS).glob("*_estimate.py")
    assert f"pending: {number(revision)}." in output
    assert plain.is_ready()
    traffic.switch(plain)
    # 2. Deploy. Both serve, and then only the new code, which needed no restart.
    assert estimate.is_ready()
    traffic.switch(plain, estimate)
    traffic.switch(estimate)

    # What clients got from the previous code is valid, except for an ETag.
    after = estimate.request("ada", "GET", path)
    assert after.json() == before.json() | {"estimate": None}
    again = estimate.request("ada", "POST", "", json={"title": "Before"}, headers=key)
    assert (again.status_code, again.json()["id"]) == (201, before.json()["id"])
    stale = {"If-Match": before.headers["ETag"]}
    change = {"json": {"estimate": 30}}
    assert estimate.request("ada", "PUT", path, headers=stale, **change).status_code == 412
    assert estimate.request("ada", "PUT", path, **change).json()["estimate"] == 30
    changes = estimate.request("ada", "GET", f"/changes?since={position}").json()
    assert [task["estimate"] for task in changes["tasks"]] == [30]


def test_roll_back_the_code_after_an_expanding_migration(
    releases: dict[str, WorkingCopy], database: Database, start: Start, run: Run
) -> None:
    assert migrate(releases["estimate"], database)[0] == 0
    estimate = start(releases["estimate"])
    traffic = run(estimate)
    kept, restored = (
        estimate.request("ada", "POST", "", json={"title": "New", "estimate": 30}).json()["id"]
        for _ in range(2)
    )

    # 1. Deploy the previous code: its migrations do nothing.
    code, output = migrate(releases["plain"], database)
    assert (code, output.splitlines()[-1]) == (
        0,
        "The database is newer than this code. Nothing to migrate.",
    )
    plain = start(releases["plain"])
    assert plain.is_ready()
    traffic.switch(estimate, plain)
    traffic.switch(plain)
    # It neither shows nor changes the new field.
    shown = plain.request("ada", "PUT", f"/{kept}", json={"title": "Changed"})
    assert shown.status_code == 200
    assert "estimate" not in shown.json()
    # What it restores from the trash loses the field.
    assert plain.request("ada", "DELETE", f"/{restored}").status_code == 204
    assert plain.request("ada", "POST", f"/{restored}/restore").status_code == 200

    # 2. Deploy the corrected new code: nothing to migrate, and the values are there.
    assert migrate(releases["estimate"], database)[0] == 0
    traffic.switch(plain, estimate)
    traffic.switch(estimate)
    [first, second] = [
        estimate.request("ada", "GET", f"/{task}").json() for task in (kept, restored)
    ]
    assert (first["title"], first["estimate"]) == ("Changed", 30)
    assert second["estimate"] is None


def test_contract_in_a_later_release(
    releases: dict[str, WorkingCopy], database: Database, start: Start, run: Run
) -> None:
    assert migrate(releases["estimate"], database)[0] == 0
    estimate = start(releases["estimate"])
    traffic = run(estimate)
    task = estimate.request("ada", "POST", "", json={"title": "New", "estimate": 30}).json()["id"]

    # 1. Deploy code that does not use the column. It can still be rolled back.
    assert "Nothing to migrate" not in migrate(releases["without"], database)[1]
    without = start(releases["without"])
    assert without.is_ready()
    traffic.switch(estimate, without)
    assert estimate.request("ada", "GET", f"/{task}").json()["estimate"] == 30
    traffic.switch(without)
    # 2. Drop the column with the next release. Code that does not use it serves on.
    code, output = migrate(releases["contracted"], database)
    assert code == 0, output
    assert without.is_ready()
    traffic.switch(without)
    contracted = start(releases["contracted"])
    traffic.switch(without, contracted)
    traffic.switch(contracted)
    assert contracted.request("ada", "GET", f"/{task}").json()["title"] == "New"

    # From now on, code that uses the column cannot serve: its deployment stops at the migrations.
    code, output = migrate(releases["estimate"], database)
    assert code == 1
    assert "lacks what this code needs (column deleted_tasks.estimate" in output
    assert all_answers(estimate, "ada", task) == {503}
    assert not estimate.is_ready()
    assert estimate.logs("missing: column deleted_tasks.estimate")
    # The release before the last one can.
    assert migrate(releases["without"], database)[0] == 0
    traffic.switch(without)
