"""Creates the database and the events that all implementations share."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import psycopg

from dev import postgres
from dev.local_database import PASSWORD, ROLE, create_app_role
from migrations.__main__ import migrate

SECRET = "a-secret-of-the-benchmark-0123456789abcdef"
ORIGIN = "https://app.example.com"
SIZES = (10, 1_000, 100_000)  # the users whose lists are read have this many tasks
PAGE = 50
# The requests of a server come from so many users, who have 10 tasks each: this API limits what one
# user can take of an instance.
USERS = 20
WRITER = "writer-4Vn8sKqLmYtRwEzXcB2aDf"

SEED = """
INSERT INTO tasks (user_id, title, description, completed, created_at, updated_at)
SELECT %(owner)s,
    'Task ' || n || ': call the plumber about the tap',
    CASE WHEN n %% 3 > 0 THEN 'He is there in the mornings only, and wants to know the model.' END,
    n %% 4 = 0,
    -- Milliseconds without fractions, because dates of JavaScript have no microseconds.
    timestamptz '2026-01-01 08:00:00.123Z' + n * interval '61.007 seconds',
    timestamptz '2026-01-01 09:00:00.456Z' + n * interval '61.007 seconds'
FROM generate_series(1, %(number)s) AS n
"""


@dataclass(frozen=True)
class Urls:
    """The URLs of the database, and the process id of PostgreSQL.

    app: for this API, with a role as in production, to which row-level security applies.
    admin: for the other implementations, which do not support row-level security.
    settings: other environment variables of the implementations.
    """

    app: str
    admin: str
    pid: int
    settings: Mapping[str, str] = field(default_factory=dict)


def reader(size: int) -> str:
    """Return the user who has this many tasks."""
    return f"reader-{size:06}-Yx3kLm9QwErTyUiO"


def users() -> list[str]:
    return [f"user-{number:02}-Yx3kLm9QwErTyUiOpAsD" for number in range(USERS)]


@contextmanager
def database(folder: Path, sizes: tuple[int, ...]) -> Iterator[Urls]:
    """Start PostgreSQL with the tasks of all users. Raises postgres.PostgresError."""
    with postgres.running(folder, durable=False) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        admin = server.url("bench")
        migrate(admin)
        create_app_role(admin)
        with psycopg.connect(admin, autocommit=True) as connection:
            owners = {reader(size): size for size in sizes} | {WRITER: 10}
            owners |= dict.fromkeys(users(), 10)
            for owner, number in owners.items():
                connection.execute(
                    "INSERT INTO users (id, name, email) VALUES (%s, 'A', %s)",
                    [owner, f"{owner}@example.com"],
                )
                connection.execute(SEED, {"owner": owner, "number": number})
            connection.execute("VACUUM ANALYZE")
        app = server.url("bench", user=ROLE, password=PASSWORD)
        yield Urls(app, admin, server.pid)


def events(admin_url: str, sizes: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Return the events that API Gateway would send, by name."""
    with psycopg.connect(admin_url) as connection:
        [(first, written)] = connection.execute(
            "SELECT min(id) FILTER (WHERE user_id = %s), min(id) FILTER (WHERE user_id = %s)"
            " FROM tasks",
            [reader(sizes[0]), WRITER],
        ).fetchall()
    small = f"/api/{reader(sizes[0])}/tasks"
    task = {"title": "Buy milk and bread", "description": "Two litres, and the dark one."}
    made = {
        "unauthorized": event("GET", small, None),
        "list": event("GET", small, reader(sizes[0])),
        "get": event("GET", f"{small}/{first}", reader(sizes[0])),
        "create": event("POST", f"/api/{WRITER}/tasks", WRITER, body=task),
        "toggle": event("PATCH", f"/api/{WRITER}/tasks/{written}/complete", WRITER),
    }
    for size in sizes:
        owner = reader(size)
        made[f"full {size}"] = event("GET", f"/api/{owner}/tasks", owner)
        made[f"page {size}"] = event("GET", f"/api/{owner}/tasks", owner, query=f"limit={PAGE}")
    return made


def lists() -> list[dict[str, Any]]:
    """Return the events of a list of 10, one of each of the `users`."""
    return [event("GET", f"/api/{user}/tasks", user) for user in users()]


def event(
    method: str, path: str, user: str | None, *, query: str = "", body: object = None
) -> dict[str, Any]:
    """Return a browser's request as an event of an API Gateway HTTP API (payload format 2.0)."""
    headers = {
        "accept": "application/json",
        "accept-encoding": "gzip, deflate, br, zstd",
        "accept-language": "en-GB,en;q=0.9",
        "content-length": "0",
        "host": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
        "origin": ORIGIN,
        "referer": f"{ORIGIN}/",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        "x-amzn-trace-id": "Root=1-69223b1d-3b7d2c5e1f0a4b6c8d9e0f1a",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    text = None
    if user:
        headers["authorization"] = f"Bearer {token(user)}"
    if body is not None:
        text = json.dumps(body)
        headers |= {"content-type": "application/json", "content-length": str(len(text))}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "queryStringParameters": dict(pair.split("=") for pair in query.split("&") if pair),
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abcdefghij",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": headers["user-agent"],
            },
            "requestId": "UZr1ahfKliAEPJw=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "22/Nov/2026:20:10:42 +0000",
            "timeEpoch": 1795378242008,
        },
        "body": text,
        "isBase64Encoded": False,
    }


def token(user: str) -> str:
    claims = {
        "sub": user,
        "name": "A",
        "email": f"{user}@example.com",
        "emailVerified": True,
        "iat": int(time.time()),
        "exp": int(time.time()) + 24 * 3600,
    }
    return jwt.encode(claims, SECRET, algorithm="HS256")


def environment(urls: Urls, *, ours: bool) -> dict[str, str]:
    """Return the deployment's environment variables, without those of the platform."""
    return {
        "DATABASE_URL": urls.app if ours else urls.admin,
        "BETTER_AUTH_SECRET": SECRET,
        "CORS_ORIGINS": ORIGIN,
        **urls.settings,
    }
