"""No attempt accesses a task of another user, or reveals that it exists."""

import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from tests.conftest import SECRET
from tests.security.hostile.conftest import FIGURES
from tests.security.hostile.cross_tenant import (
    CURSOR_LISTS,
    TASK_ROUTES,
    THEIR_TASK,
    Attempt,
    Names,
    attempts,
    token,
)
from tests.security.hostile.wire import Response, Wire
from tests.support.databases import Database
from tests.support.targets.local import serve

MIN_ATTEMPTS = 800
VICTIM, ABSENT = "victim-5f0c9a", "absent-5f0c9a"  # of the same length: only one of them exists
CANARY = "unseen"
# Headers that differ between any two responses.
VARYING_HEADERS = {"date", "x-request-id"}
ETAG = re.compile(r'"[0-9a-f]{32}"')

# The attempts that must detect each mutant, by their labels.
DETECTED_BY = {
    "owner not checked": {
        # "delete" has removed the task before "erase".
        *(f"own path, {route}, id plain" for route in TASK_ROUTES if route != "erase"),
        "create, Idempotency-Key",
        "list, query user_id",
        "list, query q its title",
    },
    "If-Match reveals existence": {
        f"own path, {route}, If-Match stale"
        for route in ("update", "delete", "erase", "toggle", "set")
    },
}


def create_targets(wire: Wire, database: Database) -> tuple[Names, Names]:
    """Create a victim with two tasks and a used key. Returns a target that exists, and one not."""
    # With so many digits, an id that does not exist can have the same length.
    database.query("ALTER TABLE tasks ALTER COLUMN id RESTART WITH 1000001")
    owner = [("Authorization", f"Bearer {token(VICTIM)}"), ("Content-Type", "application/json")]
    path = f"/api/{VICTIM}/tasks"
    key = f"key-{uuid.uuid4().hex}"
    etags = []
    for headers in (owner, [*owner, ("Idempotency-Key", key)]):
        body = json.dumps(THEIR_TASK).encode()
        created = wire.send("POST", path, headers, body)
        assert created.status == 201
        etags.append(created.header("etag") or "")
    changed = wire.send("PUT", f"{path}/1000001", owner, b'{"completed": true}')
    assert changed.status == 200
    etag, old_etag = changed.header("etag") or "", etags[0]
    assert ETAG.fullmatch(etag)
    assert ETAG.fullmatch(old_etag)
    assert etag != old_etag
    cursors = {}
    for order in CURSOR_LISTS:
        link = wire.send("GET", f"{path}?limit=1&{order}", owner).header("link") or ""
        [cursors[order]] = re.findall(r"cursor=([^&>]+)", link)
    since = json.loads(wire.send("GET", f"{path}/changes", owner).body)["next"]
    assert wire.send("POST", path, owner, json.dumps(THEIR_TASK).encode()).status == 201
    assert wire.send("DELETE", f"{path}/1000003", owner).status == 204
    existing = Names(VICTIM, "1000001", "1000003", since, etag, old_etag, key, cursors)
    forged = {order: cursor[:-4] + cursor[-4:].swapcase() for order, cursor in cursors.items()}
    absent_etag, absent_old_etag = (f'"{uuid.uuid4().hex}"' for _ in range(2))
    absent_key = f"key-{uuid.uuid4().hex}"
    return existing, Names(
        ABSENT,
        *("7000001", "7000003", since[:-4] + since[-4:].swapcase()),
        *(absent_etag, absent_old_etag, absent_key),
        forged,
    )


def data_of_victim(database: Database) -> list[tuple]:
    return [
        *database.query("SELECT users::text FROM users WHERE id IN (%s, %s)", VICTIM, ABSENT),
        *database.query(
            "SELECT tasks::text FROM tasks WHERE user_id IN (%s, %s) ORDER BY id", VICTIM, ABSENT
        ),
        *database.query(
            "SELECT keys::text FROM idempotency_keys AS keys WHERE user_id IN (%s, %s)",
            VICTIM,
            ABSENT,
        ),
        *database.query(
            "SELECT deleted_tasks::text FROM deleted_tasks WHERE user_id IN (%s, %s) ORDER BY id",
            VICTIM,
            ABSENT,
        ),
    ]


def violations(
    wire: Wire, database: Database, chosen: Sequence[Attempt], statuses: Counter[int] | None = None
) -> Iterator[str]:
    """Make each attempt for the target that exists and for the other. Yields every success."""
    existing, absent = create_targets(wire, database)
    before = data_of_victim(database)
    for number, attempt in enumerate(chosen):
        responses = []
        for names, side in ((existing, "a"), (absent, "b")):
            # Each attempt has an attacker of its own, so that it has no effect on the others.
            attacker = f"attacker-{number}-{side}"
            request = attempt.request(names, attacker)
            response = wire.send(request.method, request.target, request.headers, request.body)
            responses.append(normalized(response, attacker))
            if statuses is not None:
                statuses[response.status] += 1
        to_existing, to_absent = responses
        if to_existing != to_absent:
            yield f"{attempt.label}: {to_existing} is not {to_absent}"
        if CANARY in str(to_existing) and CANARY not in str(request.body):
            yield f"{attempt.label}: {to_existing}"
    if data_of_victim(database) != before:
        yield "the victim's data were changed"


def normalized(response: Response, attacker: str) -> tuple[int, str, list[tuple[str, str]]]:
    """The response without the values that differ between any two requests."""
    text = response.body.decode()
    headers = [header for header in response.headers if header[0] not in VARYING_HEADERS]
    if '"next":' in text:  # a signed token
        text = re.sub(r'"next":"[^"]+"', "", text)
        headers = [header for header in headers if header[0] != "content-length"]
    if response.status == 201:  # a task of the attacker
        text = re.sub(r'"id":\d+|"\w+_at":"[^"]+"', "", text)
        headers = [(name, re.sub(r"/\d+$", "", value)) for name, value in headers]
        headers = [(name, ETAG.sub("ETAG", value)) for name, value in headers]
    return (
        response.status,
        text.replace(attacker, "ATTACKER"),
        [(name, value.replace(attacker, "ATTACKER")) for name, value in headers],
    )


def test_no_attempt_accesses_or_reveals_tasks_of_another_user(
    fresh_database: Database, record_property: Callable[[str, object], None]
) -> None:
    environment = {"DATABASE_URL": fresh_database.app_url, "BETTER_AUTH_SECRET": SECRET}
    chosen, statuses = list(attempts()), Counter[int]()
    with serve(environment) as url, closing(Wire(url)) as wire:
        found = list(violations(wire, fresh_database, chosen, statuses))
    record_property(
        FIGURES, f"attempts at tasks of other users: {len(chosen)}, {len(found)} succeeded"
    )
    assert found == []
    assert len(chosen) >= MIN_ATTEMPTS
    assert len({attempt.label for attempt in chosen}) == len(chosen)
    assert max(statuses) < 500
    # Attempts that were all malformed, or all without a valid token, would prove nothing.
    assert all(statuses[status] >= 50 for status in (200, 201, 401, 403, 404, 422)), statuses


def detected(database_url: str, database: Database, mutant: str) -> set[str]:
    """The labels of the attempts that succeed against a mutant."""
    environment = {
        "DATABASE_URL": database_url,
        "BETTER_AUTH_SECRET": SECRET,
        "HOSTILE_MUTANT": mutant,
    }
    chosen = [attempt for attempt in attempts() if attempt.label in DETECTED_BY[mutant]]
    assert len(chosen) == len(DETECTED_BY[mutant])
    with (
        serve(environment, "tests.security.hostile.cross_tenant_mutants:app") as url,
        closing(Wire(url)) as wire,
    ):
        return {each.partition(":")[0] for each in violations(wire, database, chosen)}


@pytest.mark.parametrize("mutant", DETECTED_BY)
def test_a_mutant_is_detected(fresh_database: Database, mutant: str) -> None:
    # As the superuser, who bypasses row-level security.
    assert DETECTED_BY[mutant] <= detected(fresh_database.admin_url, fresh_database, mutant)


@pytest.mark.parametrize("mutant", DETECTED_BY)
def test_row_level_security_alone_stops_the_same_mutant(
    fresh_database: Database, mutant: str
) -> None:
    assert detected(fresh_database.app_url, fresh_database, mutant) == set()
