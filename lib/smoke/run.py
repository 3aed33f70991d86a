"""The smoke test: what is tried at a deployment and what it must answer; knows the HTTP contract,
and nothing of what is behind it.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from lib.http_client import Connection, Response
from lib.settings import Settings
from lib.smoke.report import CheckFailed, Limits, Probe, Progress, SmokeReport
from lib.smoke.users import Users, find_users

# Every task of a run starts with it: so the next run finds what stayed behind.
TITLE = "smoke test "
LEFT_BEHIND = timedelta(minutes=2)  # older than any run that still goes on
CORS_STEPS = ("preflight", "cross-origin")
# In the order of a run and of its report.
STEPS = (
    "setup", "liveness", "readiness", "create", "create again", "read", "read unchanged", "list",
    "edit", "stale edit", "toggle", "read toggled", "toggle back", "other's list", "other's read",
    "delete", "read deleted", "no token", "foreign path", "bad body", *CORS_STEPS, "cleanup",
)  # fmt: skip


def run_smoke_test(
    settings: Settings, *, limits: Limits | None = None, progress: Progress | None = None
) -> SmokeReport:
    """Try the deployment at SMOKE_BASE_URL, within `limits.run` seconds.

    Whatever goes wrong is in the report: this raises nothing.
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
    probe = Probe(connection, headers, limits, progress)
    found: list[Users] = []

    def set_up() -> tuple[str, str]:
        if not url:
            raise CheckFailed("SMOKE_BASE_URL is not set")
        users, source = find_users(settings, limits.step)
        found.append(users)
        return "2 users", source

    probe.step("setup", "2 users", set_up)
    for users in found:
        try:
            _try_everything(probe, users, origin)
        finally:
            probe.release_reserve()
            if probe.reached:
                probe.step("cleanup", "0 left", partial(_clean_up, probe, users))
    connection.close()
    unset = {} if origin else dict.fromkeys(CORS_STEPS, "CORS_ORIGINS is not set")
    return probe.report(url, dict.fromkeys(STEPS, "") | unset)


def _try_everything(probe: Probe, users: Users, origin: str | None) -> None:
    probe.ask("liveness", 200, "GET", "/api/health", token=None, check=_is_object)
    if not probe.reached:
        return  # nobody will be there for the other steps either
    probe.ask("readiness", 200, "GET", "/api/health/ready", token=None, check=_is_object)
    _live_through_a_task(probe, users)
    ask = partial(probe.ask, check=_explains)
    ask("no token", 401, "GET", users.tasks, token=None, check=_challenges)
    ask("foreign path", 403, "GET", users.others_tasks, token=users.token)
    # Titled as all of ours, or nobody would find it again where validation is lost.
    too_long = {"title": _title(probe) + "x" * 200}
    ask("bad body", 422, "POST", users.tasks, token=users.token, body=too_long)
    if origin:
        here = {"Origin": origin}
        wish = {
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        # Gateways that answer preflights themselves say 200 or 204, and browsers mind neither.
        allows_wish = partial(_allows_wish, origin)
        ask("preflight", "2xx", "OPTIONS", users.tasks, here | wish, token=None, check=allows_wish)
        allows = partial(_allows, origin)
        ask("cross-origin", 401, "GET", users.tasks, here, token=None, check=allows)


def _live_through_a_task(probe: Probe, users: Users) -> None:
    ask = partial(probe.ask, token=users.token)
    once = {"Idempotency-Key": f"smoke-{probe.id}"}
    title = _title(probe)
    new, edited = {"title": title}, {"title": f"{title}, edited"}
    as_new = partial(_is, new | {"user_id": users.id, "completed": False})
    created = ask("create", 201, "POST", users.tasks, once, body=new, check=as_new)
    if not created:
        return
    task_id, tag = created.json()["id"], created.headers.get("etag")
    path = f"{users.tasks}/{task_id}"
    same = partial(_is, new | {"id": task_id, "completed": False})
    ask("create again", 201, "POST", users.tasks, once, body=new, check=same)
    ask("read", 200, "GET", path, check=same)
    ask("read unchanged", 304, "GET", path, {"If-None-Match": tag})
    ask("list", 200, "GET", users.tasks, check=partial(_lists, title, 1))
    current = {"If-Match": tag}
    changed = partial(_is, edited | {"id": task_id, "completed": False})
    now = {"id": task_id}
    if ask("edit", 200, "PUT", path, current, body=edited, check=changed):
        now |= edited
        ask("stale edit", 412, "PUT", path, current, body=edited, check=_explains)
    toggled, toggled_back = (partial(_is, now | {"completed": done}) for done in (True, False))
    if ask("toggle", 200, "PATCH", f"{path}/complete", check=toggled):
        ask("read toggled", 200, "GET", path, check=toggled)
        ask("toggle back", 200, "PATCH", f"{path}/complete", check=toggled_back)
    as_other = partial(probe.ask, token=users.others_token)
    nothing = partial(_lists, title, 0)
    as_other("other's list", 200, "GET", users.others_tasks, check=nothing)
    as_other("other's read", 404, "GET", f"{users.others_tasks}/{task_id}", check=_explains)
    ask("delete", 204, "DELETE", path)
    ask("read deleted", 404, "GET", path, check=_explains)


def _clean_up(probe: Probe, users: Users) -> tuple[str, str]:
    """Delete the tasks of this run and of earlier ones. Raises CheckFailed if any remain."""

    def delete(task_ids: Iterable[int]) -> int:
        paths = [f"{users.tasks}/{task_id}" for task_id in task_ids]
        return sum(probe.send("DELETE", path, token=users.token).status == 204 for path in paths)

    # First what is known by its id: that can be deleted also where lists are broken.
    removed = delete(_ids(probe.created))
    for may_delete in (True, False):
        answer = probe.send("GET", users.tasks, token=users.token)
        if answer.status != 200:
            raise CheckFailed("what stays cannot be listed", str(answer.status))
        left = [t["id"] for t in answer.json() if _is_litter(t, users.id, _title(probe))]
        if not left:
            break
        if may_delete:
            removed += delete(left)
    if left:
        raise CheckFailed("tasks of the smoke test cannot be deleted", f"{len(left)} left")
    return "0 left", f"deleted {removed} here" if removed else ""


def _ids(created: list[Response]) -> set[int]:
    ids = set()
    for answer in created:
        with suppress(LookupError, TypeError, ValueError):
            ids.add(int(answer.json()["id"]))
    return ids


def _is_litter(task: dict[str, Any], user: str, title_of_run: str) -> bool:
    if task["user_id"] != user or not task["title"].startswith(TITLE):
        return False
    # Another run may be on its way: its tasks are younger.
    age = datetime.now(UTC) - datetime.fromisoformat(task["created_at"])
    return age > LEFT_BEHIND or task["title"].startswith(title_of_run)


def _title(probe: Probe) -> str:
    return TITLE + probe.id


def _is(wanted: Mapping[str, Any], answer: Response) -> None:
    task = answer.json()
    for name, value in wanted.items():
        if task[name] != value:
            raise CheckFailed(f"{name} is {json.dumps(task[name])} and not {json.dumps(value)}")


def _lists(title: str, times: int, answer: Response) -> None:
    seen = sum(task["title"].startswith(title) for task in answer.json())
    if seen != times:
        raise CheckFailed(f"the task stands in it {seen} times and not {times}")


def _allows(origin: str, answer: Response) -> None:
    allowed = answer.headers.get("access-control-allow-origin")
    if allowed != origin:
        raise CheckFailed(f"Access-Control-Allow-Origin is {allowed} and not {origin}")


def _allows_wish(origin: str, answer: Response) -> None:
    _allows(origin, answer)
    for name, wanted in (("methods", "PATCH"), ("headers", "authorization")):
        header = answer.headers.get(f"access-control-allow-{name}", "")
        if wanted.lower() not in header.lower():
            raise CheckFailed(f"Access-Control-Allow-{name.capitalize()} is without {wanted}")


def _is_object(answer: Response) -> None:
    if not isinstance(answer.json(), dict):
        raise CheckFailed("the answer is no JSON object")


def _explains(answer: Response) -> None:
    if not isinstance(answer.json()["detail"], str):
        raise CheckFailed("its detail is no sentence")


def _challenges(answer: Response) -> None:
    _explains(answer)
    if not answer.headers.get("www-authenticate", "").startswith("Bearer"):
        raise CheckFailed("WWW-Authenticate asks for no Bearer token")
