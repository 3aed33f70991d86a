"""Nobody reaches a task of somebody else, or learns that it exists, in any of a thousand ways."""

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
from tests.security.hostile.wire import Answer, Wire
from tests.support.databases import Database
from tests.support.targets.local import serve

FEWEST_ATTEMPTS = 800
VICTIM, GHOST = "victim-5f0c9a", "ghosts-5f0c9a"  # of one length: only one of them exists
CANARY = "unseen"
# Of the request, not of what it asks for.
OF_THE_REQUEST = {"date", "x-request-id"}


# What must notice each planted hole, by the labels of attempts.
FOUND_BY = {
    "nobody is asked for": {
        *(f"own path, {route}, id plain" for route in TASK_ROUTES),
        "create, Idempotency-Key",
        "list, query user_id",
        "list, query q its title",
    },
    "If-Match tells what exists": {
        f"own path, {route}, If-Match stale" for route in ("update", "delete", "toggle", "set")
    },
}


def prepared(wire: Wire, database: Database) -> tuple[Names, Names]:
    """A victim with two tasks and a used key; the names of what is there, and of what is not."""
    # Ids of so many digits that a missing one can look like them.
    database.query("ALTER TABLE tasks ALTER COLUMN id RESTART WITH 1000001")
    owner = [("Authorization", f"Bearer {token(VICTIM)}"), ("Content-Type", "application/json")]
    path = f"/api/{VICTIM}/tasks"
    key = f"key-{uuid.uuid4().hex}"
    for headers in (owner, [*owner, ("Idempotency-Key", key)]):
        body = json.dumps(THEIR_TASK).encode()
        assert wire.send("POST", path, headers, body).status == 201
    answer = wire.send("PUT", f"{path}/1000001", owner, b'{"completed": true}')
    assert answer.header("etag") == '"2"'
    cursors = {}
    for order in CURSOR_LISTS:
        link = wire.send("GET", f"{path}?limit=1&{order}", owner).header("link") or ""
        [cursors[order]] = re.findall(r"cursor=([^&>]+)", link)
    there = Names(VICTIM, "1000001", key, cursors)
    forged = {order: cursor[:-4] + cursor[-4:].swapcase() for order, cursor in cursors.items()}
    return there, Names(GHOST, "7000001", f"key-{uuid.uuid4().hex}", forged)


def state(database: Database) -> list[tuple]:
    """Everything that is the victim's."""
    return [
        *database.query("SELECT * FROM users WHERE id IN (%s, %s)", VICTIM, GHOST),
        *database.query("SELECT * FROM tasks WHERE user_id IN (%s, %s) ORDER BY id", VICTIM, GHOST),
        *database.query("SELECT * FROM idempotency_keys WHERE user_id IN (%s, %s)", VICTIM, GHOST),
    ]


def hits(
    wire: Wire, database: Database, chosen: Sequence[Attempt], statuses: Counter[int] | None = None
) -> Iterator[str]:
    """Makes each attempt on what is there and on what is not. Tells of every success."""
    there, missing = prepared(wire, database)
    before = state(database)
    for number, attempt in enumerate(chosen):
        answers = []
        for names, side in ((there, "a"), (missing, "b")):
            # A stranger of its own, so that no attempt stands in the way of another.
            mine = f"stranger-{number}-{side}"
            request = attempt.request(names, mine)
            answer = wire.send(request.method, request.target, request.headers, request.body)
            answers.append(told(answer, mine))
            if statuses is not None:
                statuses[answer.status] += 1
        of_there, of_missing = answers
        if of_there != of_missing:
            yield f"{attempt.label}: {of_there} is not {of_missing}"
        if CANARY in str(of_there) and CANARY not in str(request.body):
            yield f"{attempt.label}: {of_there}"
    if state(database) != before:
        yield "what the victim has was changed"


def told(answer: Answer, mine: str) -> tuple[int, str, list[tuple[str, str]]]:
    """The answer, without what this request alone brought or made."""
    text = answer.body.decode()
    headers = [header for header in answer.headers if header[0] not in OF_THE_REQUEST]
    if answer.status == 201:  # a task of the stranger's own
        text = re.sub(r'"id":\d+|"\w+_at":"[^"]+"', "", text)
        headers = [(name, re.sub(r"/\d+$", "", value)) for name, value in headers]
    return (
        answer.status,
        text.replace(mine, "MINE"),
        [(name, value.replace(mine, "MINE")) for name, value in headers],
    )


def test_no_attempt_reaches_or_notices_what_is_somebody_elses(
    fresh_database: Database, record_property: Callable[[str, object], None]
) -> None:
    environment = {"DATABASE_URL": fresh_database.app_url, "BETTER_AUTH_SECRET": SECRET}
    chosen, statuses = list(attempts()), Counter[int]()
    with serve(environment) as url, closing(Wire(url)) as wire:
        found = list(hits(wire, fresh_database, chosen, statuses))
    record_property(FIGURES, f"attempts at others' tasks: {len(chosen)}, {len(found)} hits")
    assert found == []
    assert len(chosen) >= FEWEST_ATTEMPTS
    assert len({attempt.label for attempt in chosen}) == len(chosen)
    assert max(statuses) < 500
    # Were they all malformed, or all without a good token, they would show nothing.
    assert all(statuses[status] >= 50 for status in (200, 201, 401, 403, 404, 422)), statuses


def found_with_hole(database_url: str, database: Database, mutant: str) -> set[str]:
    """The attempts that succeed where the statements have this hole."""
    environment = {
        "DATABASE_URL": database_url,
        "BETTER_AUTH_SECRET": SECRET,
        "HOSTILE_PLANT": mutant,
    }
    chosen = [attempt for attempt in attempts() if attempt.label in FOUND_BY[mutant]]
    assert len(chosen) == len(FOUND_BY[mutant])
    with (
        serve(environment, "tests.security.hostile.cross_tenant_mutants:app") as url,
        closing(Wire(url)) as wire,
    ):
        return {hit.partition(":")[0] for hit in hits(wire, database, chosen)}


@pytest.mark.parametrize("mutant", FOUND_BY)
def test_a_planted_hole_is_found(fresh_database: Database, mutant: str) -> None:
    # As the superuser, whom row-level security does not bind.
    assert FOUND_BY[mutant] <= found_with_hole(fresh_database.admin_url, fresh_database, mutant)


@pytest.mark.parametrize("mutant", FOUND_BY)
def test_row_level_security_alone_closes_the_same_hole(
    fresh_database: Database, mutant: str
) -> None:
    assert found_with_hole(fresh_database.app_url, fresh_database, mutant) == set()
