"""Rows that have expired or soon will, the retention job beside the traffic, and what it must keep.

The texts of deleted tasks expire after 30 days, their ids a day later, records of keys after 24
hours. Live tasks never expire.
"""

import asyncio
import random
import time
from typing import Any

import psycopg

from tests.resilience.chaos import plan
from tests.resilience.chaos.calls import CRON_SECRET, Traffic
from tests.resilience.chaos.fleet import Request, Response, TransportError
from tests.resilience.chaos.ledger import WRONG, Ledger, Place

# The age of the rows of each user in days, and where they are after the run.
TRASHED: tuple[tuple[float, Place], ...] = (
    (29.9, "trashed"), (30.1, "erased"), (30.9, "erased"), (31.1, "absent"), (60, "absent"),
)  # fmt: skip
LIVE_DAYS = 400
# The age of records of keys in hours, and whether they are kept.
RECORDS = ((23.9, True), (24.1, False), (100, False))
PAUSE = 1.0  # seconds between two runs, on average

INSERT = """INSERT INTO tasks (user_id, title, completed, created_at, updated_at)
SELECT %(user)s, %(title)s, true, at, at FROM (SELECT now() - %(days)s * interval '1 day' AS at)
RETURNING id"""
DELETE = "DELETE FROM tasks WHERE id = %(id)s"
AGE = """UPDATE deleted_tasks SET deleted_at = now() - %(days)s * interval '1 day'
WHERE id = %(id)s"""
RECORD = """INSERT INTO idempotency_keys
    (user_id, key, request_hash, task_id, task, version, created_at)
VALUES (%(user)s, %(key)s, '', %(id)s, %(text)s, 1, now() - %(hours)s * interval '1 hour')"""


def insert(admin: psycopg.Connection[Any], user: str, ledger: Ledger) -> int:
    """Insert the rows of a user, and note where each has to be after the run.

    Returns a task that has to remain in the trash.
    """
    live = _insert_task(admin, user, LIVE_DAYS)
    ledger.aged[live] = "live"
    trashed = 0
    for days, place in TRASHED:
        task = _insert_task(admin, user, days)
        admin.execute(DELETE, {"id": task})
        admin.execute(AGE, {"id": task, "days": days})
        ledger.aged[task] = place
        trashed = task if place == "trashed" else trashed
    for hours, kept in RECORDS:
        key = f"{user}-{hours}-hours"
        values = {"user": user, "key": key, "id": live, "text": "text", "hours": hours}
        admin.execute(RECORD, values)
        ledger.aged_keys[key] = kept
    return trashed


def _insert_task(admin: psycopg.Connection[Any], user: str, days: float) -> int:
    values = {"user": user, "title": f"{user} is {days} days old", "days": days}
    row = admin.execute(INSERT, values).fetchone()
    assert row
    return row[0]


async def run_beside(traffic: Traffic, clients: asyncio.Task[None]) -> int:
    """Run the retention job again and again until the clients are done. Returns how often."""
    runs = 0
    while not clients.done():
        await _run(traffic, runs)
        runs += 1
        await asyncio.wait({clients}, timeout=PAUSE * random.uniform(0.5, 1.5) / traffic.speed)
    return runs


async def finish(traffic: Traffic) -> None:
    """Run the job after the last fault, until nothing is left."""
    until = time.monotonic() + plan.TIMEOUT
    while time.monotonic() < until:
        response = await _run(traffic, -1)
        if response and response.status == 200 and not any(response.body["left"].values()):
            return
    traffic.ledger.report(WRONG, "the retention job leaves expired rows")


async def _run(traffic: Traffic, number: int) -> Response | None:
    delivery = plan.delivery(traffic.seed, "retention", number)
    headers = {"authorization": f"Bearer {CRON_SECRET}"}
    request = Request("GET", "/api/retention", headers)
    to_instance = delivery.to_instance and traffic.fleet.instance
    send = traffic.fleet.call if to_instance else traffic.fleet.invoke
    try:
        response = await send(request, delivery.timeout)
    except TransportError:
        return None
    if response.status not in (200, 503):
        traffic.ledger.report(WRONG, f"the retention job got {response.status}: {response.body}")
    return response
