"""Raw requests: none gets a 5xx, none smuggles a request, and the server works after each."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing

from tests.security.hostile.conftest import FIGURES
from tests.security.hostile.cross_tenant import token
from tests.security.hostile.raw_requests import SMUGGLING, WELL_FORMED, raw_requests, smuggled
from tests.security.hostile.wire import Wire, exchange

MIN_CASES = 150
USER = "raw-requests"
PATH = f"/api/{USER}/tasks"


def test_no_raw_request_crashes_the_server(
    base_url: str, record_property: Callable[[str, object], None]
) -> None:
    wire, own = Wire(base_url), token(USER)
    headers = [("Authorization", f"Bearer {own}")]
    kept = wire.send("POST", PATH, headers, b'{"title": "kept"}').header("location") or ""
    cases = list(raw_requests(PATH.encode(), own))
    statuses: Counter[int] = Counter()
    wrong = []
    for name, request in cases:
        responses = exchange(base_url, request, timeout=1)
        statuses.update(responses or [0])
        if any(status >= 500 for status in responses):
            wrong.append((name, responses))
        afterwards = wire.send("GET", kept, headers)
        if afterwards.status != 200:
            wrong.append((f"after {name}", [afterwards.status]))
    wire.close()
    record_property(FIGURES, f"raw requests: {len(cases)}, {len(wrong)} failures")
    assert wrong == []
    assert len({name for name, _ in cases}) == len(cases) >= MIN_CASES
    # Most must reach the API: the others only test the server in front of it.
    assert statuses[422] + statuses[404] >= len(cases) / 2, statuses


def test_a_smuggled_request_is_not_run(base_url: str) -> None:
    own = token(USER)
    headers = [("Authorization", f"Bearer {own}")]
    smuggled_by = set()
    with closing(Wire(base_url)) as wire:
        for shape in SMUGGLING:
            task = wire.send("POST", PATH, headers, b'{"title": "kept"}').header("location") or ""
            number = task.rpartition("/")[2].encode()
            sent = smuggled(PATH.encode(), number, own, shape)
            responses = exchange(base_url, sent, timeout=1)
            assert all(status < 500 for status in responses), shape
            if wire.send("GET", task, headers).status != 200:
                smuggled_by.add(shape)
    assert smuggled_by <= WELL_FORMED
