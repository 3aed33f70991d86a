"""Breaks one behaviour of the API at a time, by a proxy: the report must name the failed steps.

The test cases are named after the functions that break a behaviour. No row may remain.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from lib.smoke.report import Limits, SmokeReport
from lib.smoke.run import TITLE, run_smoke_test
from tests.integrations.smoke.breaking_proxy import Breakage, Forward, Reply, Request, breaking
from tests.integrations.smoke.conftest import PATIENT, Rows, Serve, settings_for

MINE, OTHERS = "/api/smoke/tasks", "/api/smoke-other/tasks"
JSON = {"content-type": "application/json"}

BREAKAGES: dict[str, tuple[list[str], Breakage]] = {}


def breaks(*failed: str) -> Callable[[Breakage], Breakage]:
    """Register a breakage, with all the steps that must fail because of it."""

    def register(breakage: Breakage) -> Breakage:
        name = getattr(breakage, "__name__", "").replace("_", " ")
        BREAKAGES[name] = list(failed), breakage
        return breakage

    return register


def is_task(request: Request) -> bool:
    return re.fullmatch(rf"{MINE}/\d+", request.path) is not None


def of_step(request: Request, name: str) -> bool:
    return request.headers["x-request-id"].split("-", 2)[2] == name


def edited(reply: Reply, **changes: Any) -> Reply:
    return replace(reply, body=json.dumps(json.loads(reply.body) | changes).encode())


def as_get(request: Request) -> Request:
    """A GET of the task that this request would change."""
    return replace(request, method="GET", path=request.path.removesuffix("/complete"), body=b"")


# The whole deployment


@breaks("liveness", "readiness", "create", "no token", "foreign path", "bad body", "preflight",
        "cross-origin", "cleanup")  # fmt: skip
def every_response_is_the_sign_in_page_of_a_deployment_protection(_: Request, __: Forward) -> Reply:
    return Reply(401, {"content-type": "text/html"}, b"<!doctype html><title>Sign in</title>")


@breaks("liveness")
def another_protocol(_: Request, __: Forward) -> list[bytes]:
    return [b"SSH-2.0-OpenSSH_9.9\r\n"]


@breaks("readiness")
def the_database_is_unavailable_for_readiness(request: Request, forward: Forward) -> Reply:
    if request.path == "/api/health/ready":
        return Reply(503, JSON, b'{"detail": "The database did not response in time."}')
    return forward(request)


# Creating


@breaks("create", "bad body")
def create_fails(request: Request, forward: Forward) -> Reply:
    return Reply(500, JSON, b'{"detail": "x"}') if request.method == "POST" else forward(request)


@breaks("create")
def create_is_stored_and_the_response_is_lost(request: Request, forward: Forward) -> Reply | None:
    reply = forward(request)
    return None if of_step(request, "create") else reply


@breaks("create")
def create_is_stored_and_the_response_is_not_json(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return replace(reply, body=b"created") if of_step(request, "create") else reply


@breaks("create")
def create_loses_the_title(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return edited(reply, title="") if of_step(request, "create") else reply


@breaks(
    "read", "read unchanged", "list", "mcp", "edit", "toggle", "delete", "restore", "erase"
)  # fmt: skip
def create_succeeds_and_is_not_stored(request: Request, forward: Forward) -> Reply:
    if request.method == "POST" and "idempotency-key" in request.headers:
        fields = {"id": 2**40, "user_id": "smoke", "completed": False, "completed_at": None}
        task = fields | json.loads(request.body)
        return Reply(201, JSON | {"etag": '"1"'}, json.dumps(task).encode())
    return forward(request)


@breaks("create again", "list")
def idempotency_keys_are_ignored(request: Request, forward: Forward) -> Reply:
    headers = {k: v for k, v in request.headers.items() if k != "idempotency-key"}
    return forward(replace(request, headers=headers))


# Reading


@breaks("read unchanged", "edit")
def there_are_no_etags(request: Request, forward: Forward) -> Reply:
    return forward(request).without("etag")


@breaks("read unchanged")
def if_none_match_is_ignored(request: Request, forward: Forward) -> Reply:
    headers = {k: v for k, v in request.headers.items() if k != "if-none-match"}
    return forward(replace(request, headers=headers))


@breaks("mcp")
def the_function_for_assistants_is_missing(request: Request, forward: Forward) -> Reply:
    if request.path == "/api/mcp":
        return Reply(404, JSON, b'{"detail": "Not found."}')
    return forward(request)


@breaks("mcp")
def headers_for_assistants_are_removed(request: Request, forward: Forward) -> Reply:
    headers = {k: v for k, v in request.headers.items() if not k.startswith("mcp-")}
    return forward(replace(request, headers=headers))


@breaks("mcp")
def tools_fail(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    if request.path != "/api/mcp":
        return reply
    content = [{"type": "text", "text": "The database is unavailable. Try again."}]
    return edited(reply, result={"isError": True, "content": content})


@breaks("mcp")
def tools_see_another_database(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    if request.path != "/api/mcp":
        return reply
    return edited(reply, result={"isError": False, "structuredContent": {"tasks": []}})


@breaks("list")
def the_list_is_empty(request: Request, forward: Forward) -> Reply:
    if request.path == MINE and request.method == "GET" and "authorization" in request.headers:
        return Reply(200, JSON, b"[]")
    return forward(request)


@breaks("list", "cleanup")
def the_list_fails(request: Request, forward: Forward) -> Reply:
    if request.path == MINE and request.method == "GET" and "authorization" in request.headers:
        return Reply(500, JSON, b'{"detail": "x"}')
    return forward(request)


@breaks("list")
def the_list_is_wrapped_in_an_object(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return replace(reply, body=b'{"tasks": []}') if of_step(request, "list") else reply


# Changing


@breaks("edit")
def an_edit_is_lost(request: Request, forward: Forward) -> Reply:
    return forward(as_get(request) if of_step(request, "edit") else request)


@breaks("stale edit")
def if_match_is_ignored(request: Request, forward: Forward) -> Reply:
    headers = {k: v for k, v in request.headers.items() if k != "if-match"}
    return forward(replace(request, headers=headers))


@breaks("toggle")
def a_toggle_is_lost(request: Request, forward: Forward) -> Reply:
    return forward(as_get(request) if of_step(request, "toggle") else request)


@breaks("read toggled", "toggle back")
def a_toggle_succeeds_and_is_not_stored(request: Request, forward: Forward) -> Reply:
    if of_step(request, "toggle"):
        return edited(forward(as_get(request)), completed=True)
    return forward(request)


@breaks("toggle back")
def toggles_only_set(request: Request, forward: Forward) -> Reply:
    if request.method == "PATCH":
        body = b'{"completed": true}'
        return forward(replace(request, body=body, headers=request.headers | JSON))
    return forward(request)


# Deleting


@breaks("delete", "read deleted", "erase", "cleanup")
def nothing_can_be_deleted(request: Request, forward: Forward) -> Reply:
    if request.method == "DELETE":
        return Reply(405, JSON, b'{"detail": "x"}')
    return forward(request)


@breaks("read deleted")
def the_first_deletion_succeeds_and_is_not_stored(request: Request, forward: Forward) -> Reply:
    return Reply(204) if of_step(request, "delete") else forward(request)


@breaks("read deleted", "cleanup")
def deletions_succeed_and_are_not_stored(request: Request, forward: Forward) -> Reply:
    return Reply(204) if request.method == "DELETE" else forward(request)


@breaks("restore")
def nothing_can_be_restored(request: Request, forward: Forward) -> Reply:
    if of_step(request, "restore"):
        return Reply(404, JSON, b'{"detail": "x"}')
    return forward(request)


@breaks("restore")
def a_restored_task_has_lost_its_title(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return edited(reply, title="other") if of_step(request, "restore") else reply


@breaks("changes")
def a_change_is_missed(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return edited(reply, tasks=[]) if of_step(request, "changes") else reply


@breaks("erase")
def nothing_can_be_erased(request: Request, forward: Forward) -> Reply:
    if of_step(request, "erase"):
        return Reply(500, JSON, b'{"detail": "x"}')
    return forward(request)


# Keeping users apart


@breaks("other's list")
def someone_elses_tasks_are_listed(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    if not of_step(request, "others-list"):
        return reply
    run = request.headers["x-request-id"].split("-")[1]
    return replace(reply, body=json.dumps([{"id": 1, "title": TITLE + run}]).encode())


@breaks("other's read")
def someone_elses_task_is_readable(request: Request, forward: Forward) -> Reply:
    return Reply(200, JSON, b"{}") if of_step(request, "others-read") else forward(request)


@breaks("foreign path")
def someone_elses_path_is_open(request: Request, forward: Forward) -> Reply:
    return Reply(200, JSON, b"[]") if of_step(request, "foreign-path") else forward(request)


@breaks("no token", "cross-origin")
def no_token_is_needed(request: Request, forward: Forward) -> Reply:
    if of_step(request, "no-token") or of_step(request, "cross-origin"):
        return Reply(200, JSON, b"[]")
    return forward(request)


@breaks("no token")
def a_401_does_not_ask_for_a_token(request: Request, forward: Forward) -> Reply:
    return forward(request).without("www-authenticate")


# Input and browsers


@breaks("bad body")
def any_title_is_accepted(request: Request, forward: Forward) -> Reply:
    if of_step(request, "bad-body"):
        title = json.loads(request.body)["title"][:200]
        return forward(replace(request, body=json.dumps({"title": title}).encode()))
    return forward(request)


@breaks("bad body")
def bad_input_is_a_server_error(request: Request, forward: Forward) -> Reply:
    return (
        Reply(500, JSON, b'{"detail": "x"}') if of_step(request, "bad-body") else forward(request)
    )


@breaks("preflight", "cross-origin")
def cors_is_lost(request: Request, forward: Forward) -> Reply:
    return forward(request).without("access-control-")


@breaks("cross-origin")
def cors_is_lost_on_errors(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return reply.without("access-control-") if reply.status >= 400 else reply


@breaks("preflight")
def preflights_are_not_supported(request: Request, forward: Forward) -> Reply:
    return Reply(405, JSON, b"{}") if request.method == "OPTIONS" else forward(request)


@breaks("preflight")
def preflights_lack_a_method(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    methods = reply.headers.get("access-control-allow-methods", "").replace(", PATCH", "")
    return replace(reply, headers=reply.headers | {"access-control-allow-methods": methods})


@breaks("preflight", "cross-origin")
def another_origin_is_allowed(request: Request, forward: Forward) -> Reply:
    reply = forward(request)
    return replace(reply, headers=reply.headers | {"access-control-allow-origin": "https://x.y"})


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_behaviour_fails_the_steps_that_need_it(
    base_url: str, rows: Rows, name: str
) -> None:
    failed, breakage = BREAKAGES[name]
    with breaking(base_url, breakage) as proxy:
        report = run_smoke_test(settings_for(proxy.url), limits=PATIENT)
    assert_failure(report, *failed)
    can_delete = name not in ("nothing can be deleted", "deletions succeed and are not stored")
    assert rows.count() == (0 if can_delete else 1)


def assert_failure(report: SmokeReport, *failed: str) -> None:
    assert not report.ok
    assert sorted(report.failed) == sorted(failed), report.steps
    assert report.detail.startswith(f"The step {report.failed[0]!r} failed: expected ")
    assert not report.detail.endswith("..")


def test_remaining_tasks_are_deleted_by_the_next_run(base_url: str, rows: Rows) -> None:
    with breaking(base_url, BREAKAGES["nothing can be deleted"][1]) as proxy:
        run_smoke_test(settings_for(proxy.url), limits=PATIENT)
    [title] = rows.titles()
    rows.clear()
    rows.add(title, minutes=3)
    assert run_smoke_test(settings_for(base_url), limits=PATIENT).ok
    assert rows.count() == 0


# The server itself


def test_a_server_that_is_down_fails_at_liveness(closed_url: str) -> None:
    report = run_smoke_test(settings_for(closed_url), limits=PATIENT)
    assert_failure(report, "liveness")
    assert "the connection was refused" in report.detail
    assert [step.result for step in report.steps[2:]] == ["not tried"] * (len(report.steps) - 2)


def test_a_host_that_does_not_exist_fails_at_liveness() -> None:
    report = run_smoke_test(settings_for("http://nowhere.invalid"), limits=PATIENT)
    assert_failure(report, "liveness")
    assert "the host name cannot be resolved" in report.detail


def test_another_secret_fails_at_the_first_request_with_a_token(base_url: str, rows: Rows) -> None:
    other = "another-secret-0123456789-0123456789-0123"
    report = run_smoke_test(settings_for(base_url, BETTER_AUTH_SECRET=other), limits=PATIENT)
    assert_failure(report, "create", "foreign path", "bad body", "cleanup")
    assert "expected 201, got 401: The token is invalid." in report.detail


def test_an_unreachable_database_fails_at_readiness(serve: Serve, closed_url: str) -> None:
    port = closed_url.rpartition(":")[2]
    url = serve(DATABASE_URL=f"postgresql://u:p@127.0.0.1:{port}/gone")
    report = run_smoke_test(settings_for(url), limits=PATIENT)
    assert_failure(report, "readiness", "create", "cleanup")
    assert "got 503: The database is unavailable" in report.detail


# Time


def test_a_slow_correct_response_fails(base_url: str, rows: Rows) -> None:
    def slow_edit(request: Request, forward: Forward) -> Reply:
        reply = forward(request)
        if of_step(request, "edit"):
            time.sleep(1.2)
        return reply

    with breaking(base_url, slow_edit) as proxy:
        report = run_smoke_test(settings_for(proxy.url), limits=Limits(slow=1))
    assert_failure(report, "edit")
    assert "got 200: slower than 1 s" in report.detail
    assert rows.count() == 0


def timed_run(url: str, limits: Limits) -> tuple[SmokeReport, float]:
    started = time.monotonic()
    report = run_smoke_test(settings_for(url), limits=limits)
    return report, time.monotonic() - started


def test_a_server_that_hangs_fails_at_liveness(base_url: str) -> None:
    def hang(_: Request, __: Forward) -> None:
        time.sleep(3)

    with breaking(base_url, hang) as proxy:
        report, seconds = timed_run(proxy.url, Limits(step=0.4, run=2, cleanup=1))
    assert_failure(report, "liveness")
    assert "within 0.4 s" in report.detail
    assert seconds < 2.2


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"])
def test_a_server_that_sends_slowly_fails_like_one_that_hangs(base_url: str, start: bytes) -> None:
    def drip(_: Request, __: Forward) -> Iterator[bytes]:
        yield start
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Long: 123456789\r\n\r\n{}":
            time.sleep(0.05)
            yield bytes([byte])

    with breaking(base_url, drip) as proxy:
        report, seconds = timed_run(proxy.url, Limits(step=0.4, run=2, cleanup=1))
    assert_failure(report, "liveness")
    assert "within 0.4 s" in report.detail
    assert seconds < 2.2


def test_a_step_that_hangs_is_named_and_its_task_is_deleted(base_url: str, rows: Rows) -> None:
    def store_and_hang(request: Request, forward: Forward) -> Reply:
        reply = forward(request)
        if of_step(request, "create"):
            time.sleep(4)
        return reply

    with breaking(base_url, store_and_hang) as proxy:
        report, _ = timed_run(proxy.url, Limits(step=2.5, run=25))
    assert_failure(report, "create")
    assert report.steps[-1].note == "deleted 1"
    assert rows.count() == 0


def test_a_run_of_slow_steps_ends_in_time_and_cleans_up(base_url: str, rows: Rows) -> None:
    def slow(request: Request, forward: Forward) -> Reply:
        reply = forward(request)
        if not of_step(request, "cleanup"):
            time.sleep(0.4)
        return reply

    with breaking(base_url, slow) as proxy:
        report, seconds = timed_run(proxy.url, Limits(run=5.6, cleanup=4))
    assert len(report.failed) == 1
    assert report.steps[-1].result == "ok"
    assert rows.count() == 0
    assert seconds < 5.8


def test_a_response_without_end_is_cut_off(base_url: str, rows: Rows) -> None:
    def endless(request: Request, forward: Forward) -> Reply:
        reply = forward(request)
        return replace(reply, body=b" " * 1_100_000) if of_step(request, "list") else reply

    with breaking(base_url, endless) as proxy:
        report = run_smoke_test(settings_for(proxy.url), limits=PATIENT)
    assert_failure(report, "list")
    assert "the response is larger than 1048576 bytes" in report.detail
    assert rows.count() == 0
