"""Hundreds of requests made of bytes: none gets a 5xx, none deletes what it hides a DELETE for, and
the server answers normally after each.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import closing

from tests.security.hostile.conftest import FIGURES
from tests.security.hostile.cross_tenant import token
from tests.security.hostile.raw_requests import SMUGGLING, WELL_FORMED, raw_requests, smuggled
from tests.security.hostile.wire import Wire, exchange

FEWEST_CASES = 150
USER = "raw-requests"
PATH = f"/api/{USER}/tasks"


def test_no_bytes_bring_the_server_down(
    base_url: str, record_property: Callable[[str, object], None]
) -> None:
    wire, mine = Wire(base_url), token(USER)
    headers = [("Authorization", f"Bearer {mine}")]
    kept = wire.send("POST", PATH, headers, b'{"title": "kept"}').header("location") or ""
    cases = list(raw_requests(PATH.encode(), mine))
    statuses: Counter[int] = Counter()
    wrong = []
    for name, request in cases:
        answers = exchange(base_url, request, patience=1)
        statuses.update(answers or [0])
        if any(status >= 500 for status in answers):
            wrong.append((name, answers))
        afterwards = wire.send("GET", kept, headers)
        if afterwards.status != 200:
            wrong.append((f"after {name}", [afterwards.status]))
    wire.close()
    record_property(FIGURES, f"requests of raw bytes: {len(cases)}, {len(wrong)} brought it down")
    assert wrong == []
    assert len({name for name, _ in cases}) == len(cases) >= FEWEST_CASES
    # Most are read to the end: what the server refuses at its first byte tests the server only.
    assert statuses[422] + statuses[404] >= len(cases) / 2, statuses


def test_a_hidden_request_stays_hidden(base_url: str) -> None:
    mine = token(USER)
    headers = [("Authorization", f"Bearer {mine}")]
    came_out = set()
    with closing(Wire(base_url)) as wire:
        for shape in SMUGGLING:
            task = wire.send("POST", PATH, headers, b'{"title": "kept"}').header("location") or ""
            number = task.rpartition("/")[2].encode()
            sent = smuggled(PATH.encode(), number, mine, shape)
            answers = exchange(base_url, sent, patience=1)
            assert all(status < 500 for status in answers), shape
            if wire.send("GET", task, headers).status != 200:
                came_out.add(shape)
    assert came_out <= WELL_FORMED
