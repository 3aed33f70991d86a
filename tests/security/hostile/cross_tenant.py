"""Attempts to access tasks of another user, with a token of one's own or without one.

Each attempt can be made for data that exist and for data that do not: both must get the same
response.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import jwt

from tests.conftest import SECRET


@dataclass(frozen=True)
class Names:
    """The target of an attempt: a user, a task with its ETags, a used key and used cursors.

    `deleted` is another task, in the trash, and `since` is a token of the user's feed.
    """

    user: str
    task: str
    deleted: str
    since: str
    etag: str
    old_etag: str
    key: str
    cursors: dict[str, str]


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes | None


@dataclass(frozen=True)
class Attempt:
    """`request` returns the request of an attempt, for its target and the id of the attacker."""

    label: str
    request: Callable[[Names, str], Request]


JSON = ("Content-Type", "application/json")
# The method, the rest of the path, and the body.
TASK_ROUTES = {
    "get": ("GET", "", None),
    "head": ("HEAD", "", None),
    "update": ("PUT", "", b'{"title": "taken over"}'),
    "toggle": ("PATCH", "/complete", None),
    "set": ("PATCH", "/complete", b'{"completed": true}'),
    "restore": ("POST", "/restore", None),
    "delete": ("DELETE", "", None),
    "erase": ("DELETE", "?permanent=true", None),
}
# What the victim sent with the key that attempts use again.
THEIR_TASK = {"title": "unseen title", "description": "unseen text"}
LIST_ROUTES = {
    "list": ("GET", "", None),
    "list the trash": ("GET", "?status=deleted", None),
    "list the changes": ("GET", "/changes", None),
    "create": ("POST", "", b'{"title": "slipped in"}'),
}


def token(sub: object, secret: str = SECRET, **claims: object) -> str:
    return jwt.encode({"sub": sub, "exp": int(time.time()) + 3600, **claims}, secret)


def encoded(text: str) -> str:
    """Every character percent-encoded."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


TASK_FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "encoded": encoded,
    "encoded twice": lambda task: encoded(task).replace("%", "%25"),
    "trailing slash": lambda task: f"{task}/",
    "two slashes": lambda task: f"/{task}",
    "leading zero": lambda task: f"0{task}",
    "plus": lambda task: f"+{task}",
    "encoded blank": lambda task: f"%20{task}",
    "underscore": lambda task: f"{task[0]}_{task[1:]}",
    "decimal": lambda task: f"{task}.0",
    "exponent": lambda task: f"{task}e0",
    "hexadecimal": lambda task: hex(int(task)),
    "wide digits": lambda task: quote("".join(chr(0xFF10 + int(digit)) for digit in task)),
    "NUL": lambda task: f"{task}%00",
    "parameter": lambda task: f"{task};v=1",
    "dots before": lambda task: f"x/../{task}",
    "encoded dots": lambda task: f"%2e/{task}",
    "encoded slash": lambda task: f"{task}%2f",
    "list": lambda task: f"{task},{task}",
    "negative": lambda task: f"-{task}",
    "wrapped at 64 bits": lambda task: str(int(task) + 2**64),
    "wrapped at 32 bits": lambda task: str(int(task) + 2**32),
}

USER_FORMS: dict[str, Callable[[str, str], str]] = {
    "plain": lambda user, _: user,
    "encoded": lambda user, _: encoded(user),
    "encoded twice": lambda user, _: encoded(user).replace("%", "%25"),
    "upper case": lambda user, _: user.upper(),
    "trailing blank": lambda user, _: f"{user}%20",
    "trailing dot": lambda user, _: f"{user}.",
    "NUL": lambda user, _: f"{user}%00",
    "NUL and own": lambda user, attacker: f"{user}%00{attacker}",
    "parameter": lambda user, attacker: f"{user};{attacker}",
    "own and back": lambda user, attacker: f"{attacker}/../{user}",
    "back to own": lambda user, attacker: f"{user}/../{attacker}",
    "encoded dots": lambda user, attacker: f"{attacker}/%2e%2e/{user}",
    "encoded slash": lambda user, attacker: f"{attacker}%2f..%2f{user}",
    "backslash": lambda user, attacker: f"{attacker}%5c..%5c{user}",
    "both": lambda user, attacker: f"{attacker},{user}",
    "both, encoded": lambda user, attacker: f"{user}%2c{attacker}",
    "star": lambda user, _: f"{user[:-1]}*",
    "wildcard": lambda user, _: f"{user[:-1]}%25",
    "quote": lambda user, _: f"{user}%27--",
    "wide letters": lambda user, _: quote(
        "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in user)
    ),
}

type MakeHeaders = Callable[[Names, str], list[tuple[str, str]]]


def _header(name: str) -> MakeHeaders:
    return lambda names, _: [(name, names.user)]


# Headers beside the attacker's own token.
EXTRA_HEADERS: dict[str, MakeHeaders] = {
    **{
        name: _header(name)
        for name in (
            "X-User-Id", "X-User", "User-Id", "X-Forwarded-User", "X-Remote-User", "Remote-User",
            "X-Authenticated-User", "X-Auth-Request-User", "X-Forwarded-Email", "X-Sub",
            "X-Amzn-Oidc-Identity", "X-Impersonate-User", "X-Act-As", "App-User-Id", "From",
        )
    },
    "X-HTTP-Method-Override": lambda *_: [("X-HTTP-Method-Override", "DELETE")],
    "X-HTTP-Method": lambda *_: [("X-HTTP-Method", "PUT"), ("X-Method-Override", "PUT")],
    "X-Original-URL": lambda names, _: [
        ("X-Original-URL", f"/api/{names.user}/tasks/{names.task}"),
        ("X-Rewrite-URL", f"/api/{names.user}/tasks/{names.task}"),
    ],
    "X-Forwarded-Prefix": lambda names, _: [("X-Forwarded-Prefix", f"/api/{names.user}/tasks")],
    "X-Forwarded-For": lambda *_: [("X-Forwarded-For", "127.0.0.1"), ("X-Real-IP", "127.0.0.1")],
    "Forwarded": lambda names, _: [("Forwarded", f"for=127.0.0.1;by={names.user}")],
    "Host": lambda *_: [("Host", "localhost")],
    "Cookie": lambda names, _: [
        ("Cookie", f"better-auth.session_token={names.user}; user_id={names.user}")
    ],
    "gateway's claims": lambda names, _: [
        ("X-Amzn-Request-Context", json.dumps({"authorizer": {"claims": {"sub": names.user}}})),
        ("X-Vercel-Id", names.user),
    ],
    "Idempotency-Key": lambda names, _: [("Idempotency-Key", names.key)],
    "If-Match star": lambda *_: [("If-Match", "*")],
    "If-Match its tag": lambda names, _: [("If-Match", names.etag)],
    "If-Match stale": lambda names, _: [("If-Match", names.old_etag)],
    "If-Match many": lambda names, _: [("If-Match", f'"0", {names.old_etag}, {names.etag}')],
    "If-Match and key": lambda names, _: [("If-Match", "*"), ("Idempotency-Key", names.key)],
    "If-None-Match its tag": lambda names, _: [("If-None-Match", names.etag)],
    "If-None-Match star": lambda *_: [("If-None-Match", "*")],
    "second token unsigned": lambda names, _: [
        ("Authorization", f"Bearer {unsigned(names.user)}")
    ],
    "second token expired": lambda names, _: [
        ("Authorization", f"Bearer {token(names.user, exp=1)}")
    ],
    "second scheme": lambda names, _: [("Authorization", f"Basic {_base64(names.user + ':x')}")],
    "Origin": lambda *_: [("Origin", "http://localhost:3000")],
    "Range": lambda *_: [("Range", "bytes=0-100")],
    "Accept": lambda *_: [("Accept", "text/html, */*;q=0.1"), ("Prefer", "return=representation")],
}  # fmt: skip


def unsigned(sub: str) -> str:
    return jwt.encode({"sub": sub, "exp": int(time.time()) + 3600}, "", algorithm="none")


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _spliced(names: Names, attacker: str) -> str:
    """The payload of the victim with the signature of the attacker."""
    head, _, signature = token(attacker).split(".")
    return f"{head}.{token(names.user).split('.')[1]}.{signature}"


# In place of the victim's token, which the attacker does not have.
CREDENTIALS: dict[str, MakeHeaders] = {
    "none": lambda *_: [],
    "empty": lambda *_: [("Authorization", "")],
    "no token": lambda *_: [("Authorization", "Bearer")],
    "expired": lambda names, _: [("Authorization", f"Bearer {token(names.user, exp=1)}")],
    "unsigned": lambda names, _: [("Authorization", f"Bearer {unsigned(names.user)}")],
    "foreign secret": lambda names, _: [
        ("Authorization", f"Bearer {token(names.user, 'another-secret-another-secret-0123')}")
    ],
    "spliced": lambda names, attacker: [("Authorization", f"Bearer {_spliced(names, attacker)}")],
    "a list as sub": lambda names, attacker: [
        ("Authorization", f"Bearer {jwt.PyJWS().encode(_claims([names.user, attacker]), SECRET)}")
    ],
    "user_id claim": lambda names, attacker: [
        ("Authorization", f"Bearer {token(attacker, user_id=names.user, id=names.user)}")
    ],
    "act claim": lambda names, attacker: [
        ("Authorization", f"Bearer {token(attacker, act={'sub': names.user}, role='admin')}")
    ],
    "sub with NUL": lambda names, _: [("Authorization", f"Bearer {token(names.user + chr(0))}")],
    "sub with a blank": lambda names, _: [("Authorization", f"Bearer {token(names.user + ' ')}")],
    "sub in upper case": lambda names, _: [
        ("Authorization", f"Bearer {token(names.user.upper())}")
    ],
    "Basic": lambda names, _: [("Authorization", f"Basic {_base64(names.user + ':x')}")],
    "cookie": lambda names, attacker: [("Cookie", f"token={token(attacker)}; user={names.user}")],
}


def _claims(sub: object) -> bytes:
    return json.dumps({"sub": sub, "exp": int(time.time()) + 3600}).encode()


QUERIES: dict[str, Callable[[Names], str]] = {
    "user_id": lambda names: f"user_id={names.user}",
    "owner": lambda names: f"owner={names.user}&userId={names.user}&sub={names.user}",
    "user twice": lambda names: f"user_id={names.user}&user_id=",
    "id": lambda names: f"id={names.task}&task_id={names.task}",
    "q its title": lambda _: "q=unseen",
    "q everything": lambda _: "q=%25",
    "q injected": lambda names: f"q=%27%20OR%20user_id=%27{names.user}",
    "sort injected": lambda names: f"sort=title&order=asc&q=)%20OR%20(user_id=%27{names.user}%27",
    "count": lambda _: "limit=1&count=true",
    "access_token": lambda names: f"access_token={unsigned(names.user)}",
    "method": lambda _: "_method=DELETE",
    "set_config": lambda names: f"app.user_id={names.user}&q=app.user_id",
}

BODIES: dict[str, Callable[[Names], dict[str, object]]] = {
    "user_id": lambda names: {"user_id": names.user},
    "userId": lambda names: {"userId": names.user, "owner": names.user, "sub": names.user},
    "id": lambda names: {"id": int(names.task), "task_id": int(names.task)},
    "id and user": lambda names: {"id": int(names.task), "user_id": names.user},
    "nested": lambda names: {"user": {"id": names.user}, "task": {"id": int(names.task)}},
    "version": lambda names: {"version": 2, "__proto__": {"user_id": names.user}},
}


def attempts() -> Iterator[Attempt]:
    """All attempts, about 1,100."""
    for route, (method, rest, body) in TASK_ROUTES.items():
        for form, write in TASK_FORMS.items():
            yield _on_own_path(f"{route}, id {form}", method, rest, body, write=write)
        for name, headers in EXTRA_HEADERS.items():
            yield _on_own_path(f"{route}, {name}", method, rest, body, headers=headers)
        for name, query in QUERIES.items():
            yield _on_own_path(f"{route}, query {name}", method, rest, body, query=query)
        for name in ("X-User-Id", "Idempotency-Key", "If-Match star", "If-Match stale"):
            yield _on_own_path(
                f"{route}, in the trash, {name}", method, rest, body,
                of=lambda names: names.deleted, headers=EXTRA_HEADERS[name],
            )  # fmt: skip
    for route, (method, rest, _) in TASK_ROUTES.items():
        if method in ("PUT", "PATCH"):
            for name, members in BODIES.items():
                yield _on_own_path(f"{route}, body {name}", method, rest, None, members=members)
    everywhere = {
        **LIST_ROUTES,
        **{
            name: (method, f"/TASK{rest}", body)
            for name, (method, rest, body) in TASK_ROUTES.items()
        },
    }
    for route, (method, rest, body) in everywhere.items():
        for form, user in USER_FORMS.items():
            yield _on_their_path(f"{route}, their path {form}", method, rest, body, user=user)
        for name, headers in EXTRA_HEADERS.items():
            yield _on_their_path(
                f"{route}, their path, {name}", method, rest, body, headers=headers
            )
        for name, credentials in CREDENTIALS.items():
            yield _on_their_path(
                f"{route}, their path, token {name}", method, rest, body, credentials=credentials
            )
    yield from _on_own_list()


def _on_own_list() -> Iterator[Attempt]:
    for route, (method, rest, body) in LIST_ROUTES.items():
        for name, headers in EXTRA_HEADERS.items():
            yield _own(f"{route}, {name}", method, lambda _, r=rest: r, body, headers=headers)
        for name, query in QUERIES.items():
            yield _own(
                f"{route}, query {name}",
                method,
                lambda names, q=query, r=rest: f"{r}{'&' if '?' in r else '?'}{q(names)}",
                body,
            )
    for name, members in BODIES.items():
        yield Attempt(
            f"create, body {name}",
            lambda names, attacker, members=members: Request(
                "POST", f"/api/{attacker}/tasks", [_bearer(attacker), JSON],
                json.dumps({"title": "slipped in", **members(names)}).encode(),
            ),
        )  # fmt: skip
        yield Attempt(
            f"create, body {name}, their key",
            lambda names, attacker, members=members: Request(
                "POST", f"/api/{attacker}/tasks",
                [_bearer(attacker), JSON, ("Idempotency-Key", names.key)],
                json.dumps(THEIR_TASK | members(names)).encode(),
            ),
        )  # fmt: skip
    for more in ("", "&limit=1", "&user_id=VICTIM"):
        yield _own(
            f"list the changes, their since{more}",
            "GET",
            lambda names, m=more: f"/changes?since={names.since}{m.replace('VICTIM', names.user)}",
            None,
        )
    for order in CURSOR_LISTS:
        for more in ("", "&count=true", "&status=pending", "&q=unseen", "&user_id=VICTIM"):
            yield _own(
                f"list, their cursor {order}{more}",
                "GET",
                lambda names, o=order, m=more: (
                    f"?limit=1&{o}&cursor={names.cursors[o]}{m.replace('VICTIM', names.user)}"
                ),
                None,
            )


CURSOR_LISTS = [
    f"sort={sort}&order={order}"
    for sort in ("created", "updated", "title")
    for order in ("asc", "desc")
]


def _bearer(user: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token(user)}")


def _nothing(*_: object) -> list[tuple[str, str]]:
    return []


def _own(
    label: str,
    method: str,
    rest: Callable[[Names], str],
    body: bytes | None,
    headers: MakeHeaders = _nothing,
) -> Attempt:
    return Attempt(
        label,
        lambda names, attacker: Request(
            method,
            f"/api/{attacker}/tasks{rest(names)}",
            [_bearer(attacker), *([JSON] if body else []), *headers(names, attacker)],
            body,
        ),
    )


def _on_own_path(
    label: str,
    method: str,
    rest: str,
    body: bytes | None,
    *,
    write: Callable[[str], str] = str,
    of: Callable[[Names], str] = lambda names: names.task,
    headers: MakeHeaders = _nothing,
    query: Callable[[Names], str] | None = None,
    members: Callable[[Names], dict[str, object]] | None = None,
) -> Attempt:
    def request(names: Names, attacker: str) -> Request:
        target = f"/api/{attacker}/tasks/{write(of(names))}{rest}"
        sent = json.dumps(members(names)).encode() if members else body
        return Request(
            method,
            f"{target}{'&' if '?' in target else '?'}{query(names)}" if query else target,
            [_bearer(attacker), *([JSON] if sent else []), *headers(names, attacker)],
            sent,
        )

    return Attempt(f"own path, {label}", request)


def _on_their_path(
    label: str,
    method: str,
    rest: str,
    body: bytes | None,
    *,
    user: Callable[[str, str], str] = lambda user, _: user,
    headers: MakeHeaders = _nothing,
    credentials: MakeHeaders | None = None,
) -> Attempt:
    def request(names: Names, attacker: str) -> Request:
        shown = credentials(names, attacker) if credentials else [_bearer(attacker)]
        return Request(
            method,
            f"/api/{user(names.user, attacker)}/tasks{rest.replace('TASK', names.task)}",
            [*shown, *([JSON] if body else []), *headers(names, attacker)],
            body,
        )

    return Attempt(label, request)
