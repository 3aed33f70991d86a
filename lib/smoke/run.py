"""The smoke test: the requests that it sends to a deployment, and the responses that it expects."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lib.http_client import Connection, Response
from lib.settings import Settings
from lib.smoke.report import CheckFailed, Limits, Progress, SmokeReport, SmokeRun
from lib.smoke.users import Users, find_users

# All titles start with this text, so that later runs can find tasks that were not deleted.
TITLE = "smoke test "
LEFTOVER_AGE = timedelta(minutes=2)  # longer than any run takes
# What the task of a run has besides its title: every field that a client may write.
FIELDS = {
    "description": "Created by the smoke test.",
    "priority": "high",
    "due_date": "2030-12-24",
    "tags": ["smoke test"],
}
CORS_STEPS = ("preflight", "cross-origin")
# A call of a tool over the Model Context Protocol (MCP), which AI assistants use.
MCP_VERSION = "2026-07-28"
MCP_HEADERS = {
    "MCP-Protocol-Version": MCP_VERSION,
    "Mcp-Method": "tools/call",
    "Mcp-Name": "list_tasks",
}
MCP_META = {
    "io.modelcontextprotocol/protocolVersion": MCP_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
# In the order in which they run and are reported.
STEPS = (
    "setup", "liveness", "readiness", "create", "create again", "read", "read unchanged", "list",
    "mcp", "edit", "stale edit", "toggle", "read toggled", "toggle back", "other's list",
    "other's read", "delete", "read deleted", "restore", "changes", "erase", "no token",
    "foreign path", "bad body", *CORS_STEPS, "cleanup",
)  # fmt: skip


def run_smoke_test(
    settings: Settings, *, limits: Limits | None = None, progress: Progress | None = None
) -> SmokeReport:
    """Test the deployment at SMOKE_BASE_URL, within `limits.run` seconds.

    Failures do not raise exceptions: they are in the report.
    """
    limits = limits or Limits()
    url = settings.SMOKE_BASE_URL or (
        f"https://{settings.VERCEL_URL}" if settings.VERCEL_URL else ""
    )
    origin = settings.CORS_ORIGINS[0] if settings.CORS_ORIGINS else None
    headers = {"User-Agent": "task-api-smoke-test"}
    if settings.VERCEL_AUTOMATION_BYPASS_SECRET:
        headers["x-vercel-protection-bypass"] = settings.VERCEL_AUTOMATION_BYPASS_SECRET
    connection = Connection(url, settings.SSL_CERT_FILE)
    run = SmokeRun(connection, headers, limits, progress)
    found: list[Users] = []

    def set_up() -> tuple[str, str]:
        if not url:
            raise CheckFailed("SMOKE_BASE_URL is not set")
        users, source = find_users(settings, limits.step)
        found.append(users)
        return "2 users", source

    run.step("setup", "2 users", set_up)
    for users in found:
        try:
            _run_steps(run, users, origin)
        finally:
            run.release_reserve()
            if run.reached:
                run.step("cleanup", "0 left", partial(_clean_up, run, users))
    connection.close()
    unset = {} if origin else dict.fromkeys(CORS_STEPS, "CORS_ORIGINS is not set")
    return run.report(url, dict.fromkeys(STEPS, "") | unset)


def _run_steps(run: SmokeRun, users: Users, origin: str | None) -> None:
    run.request("liveness", 200, "GET", "/api/health", token=None, check=_is_object)
    if not run.reached:
        return  # the server is unreachable for the other steps too
    run.request("readiness", 200, "GET", "/api/health/ready", token=None, check=_is_object)
    _test_task_operations(run, users)
    request = partial(run.request, check=_has_detail)
    request("no token", 401, "GET", users.tasks, token=None, check=_has_challenge)
    request("foreign path", 403, "GET", users.others_tasks, token=users.token)
    # The title starts with the usual text so that, if validation is broken, the cleanup finds it.
    too_long = {"title": _title(run) + "x" * 200}
    request("bad body", 422, "POST", users.tasks, token=users.token, body=too_long)
    if origin:
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        # A gateway that responds to preflights itself may use 200 or 204. Browsers accept both.
        check = partial(_allows_request, origin)
        request("preflight", "2xx", "OPTIONS", users.tasks, headers, token=None, check=check)
        headers, check = {"Origin": origin}, partial(_allows, origin)
        request("cross-origin", 401, "GET", users.tasks, headers, token=None, check=check)


def _test_task_operations(run: SmokeRun, users: Users) -> None:
    request = partial(run.request, token=users.token)
    key = {"Idempotency-Key": f"smoke-{run.id}"}
    title = _title(run)
    new, edited = {"title": title, **FIELDS}, {"title": f"{title}, edited"}
    is_new = partial(
        _has_fields, new | {"user_id": users.id, "completed": False, "completed_at": None}
    )
    created = request("create", 201, "POST", users.tasks, key, body=new, check=is_new)
    if not created:
        return
    task_id, etag = created.json()["id"], created.headers.get("etag")
    path = f"{users.tasks}/{task_id}"
    is_same = partial(_has_fields, new | {"id": task_id, "completed": False})
    request("create again", 201, "POST", users.tasks, key, body=new, check=is_same)
    request("read", 200, "GET", path, check=is_same)
    request("read unchanged", 304, "GET", path, {"If-None-Match": etag})
    request("list", 200, "GET", users.tasks, check=partial(_contains, title, 1))
    call = {"name": "list_tasks", "arguments": {"q": title}, "_meta": MCP_META}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    has_task = partial(_has_task_in_result, task_id)
    request("mcp", 200, "POST", "/api/mcp", MCP_HEADERS, body=message, check=has_task)
    current = {"If-Match": etag}
    is_edited = partial(_has_fields, edited | {"id": task_id, "completed": False})
    state = {"id": task_id}
    if request("edit", 200, "PUT", path, current, body=edited, check=is_edited):
        state |= edited
        request("stale edit", 412, "PUT", path, current, body=edited, check=_has_detail)
    is_completed = partial(_has_fields, state | {"completed": True})
    is_open = partial(_has_fields, state | {"completed": False})
    if request("toggle", 200, "PATCH", f"{path}/complete", check=is_completed):
        request("read toggled", 200, "GET", path, check=is_completed)
        request("toggle back", 200, "PATCH", f"{path}/complete", check=is_open)
    as_other = partial(run.request, token=users.others_token)
    is_absent = partial(_contains, title, 0)
    as_other("other's list", 200, "GET", users.others_tasks, check=is_absent)
    as_other("other's read", 404, "GET", f"{users.others_tasks}/{task_id}", check=_has_detail)
    request("delete", 204, "DELETE", path)
    request("read deleted", 404, "GET", path, check=_has_detail)
    if request("restore", 200, "POST", f"{path}/restore", check=partial(_has_fields, state)):
        is_changed = partial(_has_change, task_id)
        request("changes", 200, "GET", f"{users.tasks}/changes", check=is_changed)
    request("erase", 204, "DELETE", f"{path}?permanent=true")


def _clean_up(run: SmokeRun, users: Users) -> tuple[str, str]:
    """Delete the tasks of this run and of earlier ones. Raises CheckFailed if any remain."""

    def delete(task_ids: Iterable[int]) -> int:
        paths = [f"{users.tasks}/{task_id}?permanent=true" for task_id in task_ids]
        return sum(run.send("DELETE", path, token=users.token).status == 204 for path in paths)

    # First the tasks whose ids are known: they can be deleted even if the list is broken.
    removed = delete(_ids(run.created))
    for may_delete in (True, False):
        response = run.send("GET", users.tasks, token=users.token)
        if response.status != 200:
            raise CheckFailed("the remaining tasks cannot be listed", str(response.status))
        left = [t["id"] for t in response.json() if _is_leftover(t, users.id, _title(run))]
        if not left:
            break
        if may_delete:
            removed += delete(left)
    if left:
        raise CheckFailed("tasks of the smoke test cannot be deleted", f"{len(left)} left")
    return "0 left", f"deleted {removed}" if removed else ""


def _ids(created: list[Response]) -> set[int]:
    ids = set()
    for response in created:
        with suppress(LookupError, TypeError, ValueError):
            ids.add(int(response.json()["id"]))
    return ids


def _is_leftover(task: dict[str, Any], user: str, title_of_run: str) -> bool:
    if task["user_id"] != user or not task["title"].startswith(TITLE):
        return False
    # A newer task may belong to a concurrent run.
    age = datetime.now(UTC) - datetime.fromisoformat(task["created_at"])
    return age > LEFTOVER_AGE or task["title"].startswith(title_of_run)


def _title(run: SmokeRun) -> str:
    return TITLE + run.id


def _has_fields(wanted: Mapping[str, Any], response: Response) -> None:
    task = response.json()
    for name, value in wanted.items():
        if task[name] != value:
            raise CheckFailed(f"{name} is {json.dumps(task[name])}, not {json.dumps(value)}")


def _contains(title: str, times: int, response: Response) -> None:
    found = sum(task["title"].startswith(title) for task in response.json())
    if found != times:
        raise CheckFailed(f"the list contains the task {found} times, not {times}")


def _has_change(task_id: int, response: Response) -> None:
    # The user of the smoke test has few tasks, so they are on the first page.
    if task_id not in [task["id"] for task in response.json()["tasks"]]:
        raise CheckFailed("the changes lack the task")


def _has_task_in_result(task_id: int, response: Response) -> None:
    result = response.json()["result"]
    if result["isError"]:
        text = str(result["content"][0]["text"])
        raise CheckFailed(f"the tool failed: {text.removesuffix('.')}")
    if task_id not in [task["id"] for task in result["structuredContent"]["tasks"]]:
        raise CheckFailed("the result of the tool lacks the task")


def _allows(origin: str, response: Response) -> None:
    allowed = response.headers.get("access-control-allow-origin")
    if allowed != origin:
        raise CheckFailed(f"Access-Control-Allow-Origin is {allowed}, not {origin}")


def _allows_request(origin: str, response: Response) -> None:
    _allows(origin, response)
    for name, wanted in (("methods", "PATCH"), ("headers", "authorization")):
        header = response.headers.get(f"access-control-allow-{name}", "")
        if wanted.lower() not in header.lower():
            raise CheckFailed(f"Access-Control-Allow-{name.capitalize()} lacks {wanted}")


def _is_object(response: Response) -> None:
    if not isinstance(response.json(), dict):
        raise CheckFailed("the response is not a JSON object")


def _has_detail(response: Response) -> None:
    if not isinstance(response.json()["detail"], str):
        raise CheckFailed("detail is not a string")


def _has_challenge(response: Response) -> None:
    _has_detail(response)
    if not response.headers.get("www-authenticate", "").startswith("Bearer"):
        raise CheckFailed("WWW-Authenticate does not ask for a Bearer token")
