"""Predicts what a number of users needs, and which limit it reaches first."""

import math
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from bench.growth.assumptions import MIX, assumed, per_user_and_day
from bench.growth.measure import TRASH_DAYS, Figures
from lib.db.retention import BATCH_SIZE, MAX_BATCHES

PRICES: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("prices.toml").read_text()
)
DAY = 86_400
MONTH_DAYS = 30
MONTH_HOURS = 730
KB, GB, GIB = 1e3, 1e9, 2**30
BLOCK = 8192

# The tasks function of serverless.yml and of vercel.json.
LAMBDA_GB = 1
LAMBDA_PROCESSORS = 1024 / 1769  # AWS: 1,769 MB are one processor
VERCEL_GB = 2
# serverless.yml publishes versions of three functions; deployments keep two of each.
SNAPSTART_VERSIONS = 3 * 2
LOG_BYTES = 300  # of a request line

# Neon's compute units: memory, the share of it that caches data, and the sizes.
CU_GIB = 4
CACHE_SHARE = 0.75
CU_SIZES = (0.25, 0.5, *range(1, 17))
MAX_CU = CU_SIZES[-1]

# The throttle of the stack, and how often it runs the retention job.
STACK_RATE = 50
RUNS_PER_DAY = {"AWS": 24, "Vercel": 1}
# One run removes at most so many rows of a kind. In 8 seconds it removes 88,000 (docs/database.md).
ROWS_PER_RUN = min(BATCH_SIZE * MAX_BATCHES, 88_000)


class Growth(NamedTuple):
    """What a number of users needs. Bytes are on disk; money is US dollars per month."""

    users: int
    tasks: float
    requests_per_day: float
    peak_rate: float
    expired_records_per_day: float
    storage: float
    wal_per_day: float
    sent_per_month: float
    processors: float
    hot_bytes: float
    hot_clustered: float
    compute: float
    in_memory: float
    sandboxes: int
    lambda_busy: float
    vercel_instances: int
    backends: float
    vacuum_days: float
    neon: dict[str, float]
    aws: dict[str, float]
    vercel: dict[str, float]


def per_request(figures: Figures, name: str) -> float:
    """Return the average of a measured value over the mix of requests."""
    return sum(share * figures["requests"][kind][name] for kind, share in MIX.items())


def row_bytes(figures: Figures, relation: str) -> float:
    """Return the bytes that one row takes in a table or an index."""
    measured = figures["relations"][relation]
    return measured["bytes"] / measured["rows"]


def rows(users: int) -> dict[str, float]:
    """Return the rows of each table."""
    return {
        "users": users,
        "tasks": users * assumed("tasks"),
        "deleted_tasks": users * TRASH_DAYS * per_user_and_day("delete"),
        # The job that removes them runs every hour.
        "idempotency_keys": users * records_per_user_and_day() * 25 / 24,
    }


def records_per_user_and_day() -> float:
    """Return the records of idempotency keys that one user adds on an average day."""
    return per_user_and_day("create", "toggle", "update") * assumed("keyed")


def storage_bytes(figures: Figures, users: int) -> float:
    """Return the bytes of all tables and indexes."""
    number = rows(users)
    return sum(
        row_bytes(figures, name) * number[relation["table"]]
        for name, relation in figures["relations"].items()
    )


def _hot_bytes(figures: Figures, users: int, scattered: tuple[str, ...]) -> float:
    """Return the bytes that the active users of a day read: whole blocks of tasks and its indexes.

    The rows of a user are next to each other in an index that begins with the user, but in
    different blocks of the relations that are `scattered`.
    """
    tasks = users * assumed("tasks")
    hot = 0.0
    for name, relation in figures["relations"].items():
        if relation["table"] == "tasks":
            size = row_bytes(figures, name)
            neighbours = BLOCK / size
            if name not in scattered:
                neighbours = 1 + neighbours / assumed("tasks")
            hot += tasks * size * (1 - (1 - assumed("active")) ** neighbours)
    return hot


def grow(figures: Figures, users: int) -> Growth:
    """Predict what so many users need."""
    requests = users * per_user_and_day(*MIX)
    rate = requests / DAY
    peak = rate * assumed("peak")
    postgres_ms, function_ms = (
        per_request(figures, name) for name in ("postgres_ms", "function_ms")
    )
    # One request is the only one of its sandbox; on Vercel an instance serves others meanwhile.
    waiting_ms = postgres_ms + assumed("round_trip")
    lambda_seconds = (function_ms / LAMBDA_PROCESSORS + waiting_ms) / 1e3
    vercel_seconds = (function_ms + waiting_ms) / 1e3
    storage = storage_bytes(figures, users)
    wal = requests * per_request(figures, "wal_bytes")
    sent = requests * MONTH_DAYS * per_request(figures, "response_bytes")
    processors = peak * postgres_ms / 1e3 / assumed("utilization")
    hot = _hot_bytes(figures, users, ("tasks", "tasks_pkey"))
    wanted = max(processors, hot / (CU_GIB * GIB * CACHE_SHARE))
    compute = next((size for size in CU_SIZES if size >= wanted), MAX_CU)
    busy = peak * lambda_seconds
    writes = requests * sum(MIX[kind] for kind in ("create", "toggle", "update", "delete"))
    millions = requests * MONTH_DAYS / 1e6
    price = {name: entry["price"] for name, entry in PRICES.items()}
    return Growth(
        users=users,
        tasks=users * assumed("tasks"),
        requests_per_day=requests,
        peak_rate=peak,
        expired_records_per_day=users * records_per_user_and_day(),
        storage=storage,
        wal_per_day=wal,
        sent_per_month=sent,
        processors=processors,
        hot_bytes=hot,
        hot_clustered=_hot_bytes(figures, users, ("tasks_pkey",)),
        compute=compute,
        in_memory=min(1, compute * CU_GIB * GIB * CACHE_SHARE / hot),
        sandboxes=math.ceil(busy * assumed("idle_sandboxes")),
        lambda_busy=busy,
        vercel_instances=math.ceil(peak * function_ms / 1e3 / assumed("utilization")),
        backends=peak * waiting_ms / 1e3,
        # PostgreSQL freezes a table after 200 million transactions at the latest.
        vacuum_days=200e6 / writes,
        neon={
            "compute": compute * MONTH_HOURS * price["neon_compute"],
            "storage": storage / GB * price["neon_storage"],
            "history": wal * assumed("history") / GB * price["neon_history"],
            "transfer": max(0, sent / GB - 100) * price["neon_transfer"],
        },
        aws={
            "gateway": min(millions, 300) * price["gateway"] + max(0, millions - 300) * 0.90,
            "functions": millions * price["lambda_requests"]
            + millions * 1e6 * math.ceil(lambda_seconds * 1e3) / 1e3 * LAMBDA_GB
            * price["lambda_time"],
            "SnapStart": SNAPSTART_VERSIONS * MONTH_HOURS * 3600 * LAMBDA_GB * price["snapstart"],
            "logs": millions * 1e6 * LOG_BYTES / GB * price["logs"],
            "transfer": sent / GB * price["aws_transfer"],
        },
        vercel=_with_plan(
            {
                "requests": millions * (price["vercel_invocations"] + price["vercel_requests"]),
                "functions": millions * 1e6 / 3600
                * (
                    function_ms / 1e3 * price["vercel_cpu"]
                    + vercel_seconds * VERCEL_GB * price["vercel_memory"]
                ),
                "transfer": sent / GB * price["vercel_transfer"],
            },
            price["vercel_plan"],
        ),
    )  # fmt: skip


def _with_plan(usage: dict[str, float], plan: float) -> dict[str, float]:
    """Add what remains of the plan's price, which includes usage of the same price."""
    return usage | {"plan": max(0, plan - sum(usage.values()))}


class Limit(NamedTuple):
    """A limit, the number of users that reaches it, and the remedy."""

    name: str
    value: str
    users: float
    remedy: str


def limits(figures: Figures) -> list[Limit]:
    """Return the limits, the first to be reached first."""
    # All values below are proportional to the users, so one large number of them gives the factor.
    number = 10_000_000
    at = grow(figures, number)

    def reached(limit: float, needed: float) -> float:
        return limit / needed * number

    cache = MAX_CU * CU_GIB * GIB * CACHE_SHARE
    rows_per_day = {name: runs * ROWS_PER_RUN for name, runs in RUNS_PER_DAY.items()}
    found = [
        Limit(
            "Neon Free, storage", "0.5 GB", reached(0.5 * GB, at.storage),
            "the plan Launch",
        ),
        Limit(
            "the stack's throttle", f"{STACK_RATE} requests per second",
            reached(STACK_RATE, at.peak_rate),
            "`throttlingRate` and `throttlingBurst` in serverless.yml",
        ),
        Limit(
            "retention job on Vercel", f"{rows_per_day['Vercel']:,} rows of a kind per day",
            reached(rows_per_day["Vercel"], at.expired_records_per_day),
            "a shorter schedule in vercel.json (plan Pro), or `make retention` elsewhere",
        ),
        Limit(
            "retention job on AWS", f"{rows_per_day['AWS']:,} rows of a kind per day",
            reached(rows_per_day["AWS"], at.expired_records_per_day),
            "a shorter `retentionRate`",
        ),
        Limit(
            "Neon's memory, 16 CU", f"{cache / GIB:.0f} GiB of cached data",
            reached(cache, at.hot_bytes),
            "`CLUSTER` by user in partitions; else more requests wait for Neon's storage",
        ),
        Limit(
            "Neon's processors, 16 CU", f"{MAX_CU} processors",
            reached(MAX_CU, at.processors),
            "fixed sizes up to 56 CU, read replicas, or several databases",
        ),
        Limit(
            "Neon's pooler", "10,000 clients", reached(10_000, at.sandboxes),
            "`DATABASE_TRANSPORT=http`, which keeps no connection; or several databases",
        ),
        Limit(
            "Lambda's concurrency", "1,000 requests at once", reached(1_000, at.lambda_busy),
            "a quota increase from AWS",
        ),
        Limit(
            "API Gateway's account quota", "10,000 requests per second",
            reached(10_000, at.peak_rate),
            "a quota increase, or a second region",
        ),
        Limit(
            "Vercel's concurrency", "30,000 requests at once",
            reached(30_000, at.lambda_busy), "the plan Enterprise",
        ),
        Limit(
            "Neon's connections, 16 CU", "3,600 (0.9 of 4,000)", reached(3_600, at.backends),
            "several databases",
        ),
        Limit(
            "Neon's storage", "16 TB", reached(16e12, at.storage),
            "a larger limit on request, or several databases",
        ),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit.users)
