"""Headers of every response, HEAD, and trailing slashes."""

from collections.abc import Callable

import httpx2
import pytest

from tests.contract.responses import REQUEST_ID, assert_error, etag, next_link, tokens
from tests.contract.users import User

type SendRequest = Callable[..., httpx2.Response]

HOME = "http://localhost:3000"
EXPOSED = {"etag", "link", "location", "x-total-count", "x-request-id", "retry-after"}
FOREIGN = [
    "https://evil.example",
    "http://localhost:3000.evil.example",
    "http://evil.example:3000",
    "http://xlocalhost:3000",
    "https://localhost:3000",
    "http://localhost:30000",
    "http://localhost",
    "http://localhost:3000/",
    "http://127.0.0.1:3000",
    "http://localhost:3000 http://evil.example",
    "http://localhost:3000,http://evil.example",
    "null",
    "*",
    "file://",
]
JSON = {"Content-Type": "application/json"}


def request_not_modified(user: User, **headers: str) -> httpx2.Response:
    task = user.create()
    return user.get(task, headers={"If-None-Match": etag(user.get(task)), **headers})


def without_token(user: User, **headers: str) -> httpx2.Response:
    return user.client.get(user.url, headers=headers)


def public(path: str) -> SendRequest:
    return lambda user, **headers: user.client.get(path, headers=headers)


# Each kind of response: its status, a request that causes it, and what Cache-Control may be.
NO_STORE = {"no-store"}
PRIVATE = {"private", "no-cache"}
PUBLIC = {"public", "max-age=300"}
KINDS: dict[str, tuple[int, SendRequest, list[set[str]]]] = {
    "list": (200, lambda user, **headers: user.send("GET", user.url, headers=headers), [NO_STORE]),
    "page": (
        200,
        lambda user, **headers: user.send("GET", f"{user.url}?limit=1", headers=headers),
        [NO_STORE],
    ),
    "get": (200, lambda user, **headers: user.get(user.create(), headers=headers), [PRIVATE]),
    "put": (
        200,
        lambda user, **headers: user.put(user.create(), {"title": "x"}, headers=headers),
        [PRIVATE, NO_STORE],
    ),
    "toggle": (
        200,
        lambda user, **headers: user.complete(user.create(), headers=headers),
        [PRIVATE, NO_STORE],
    ),
    "create": (
        201,
        lambda user, **headers: user.post({"title": "x"}, headers=headers),
        [PRIVATE, NO_STORE],
    ),
    "delete": (
        204,
        lambda user, **headers: user.delete(user.create(), headers=headers),
        [NO_STORE],
    ),
    "not modified": (304, request_not_modified, [PRIVATE]),
    "no token": (401, without_token, [NO_STORE]),
    "bad token": (
        401,
        lambda user, **headers: without_token(user, Authorization="Bearer x.y.z", **headers),
        [NO_STORE],
    ),
    "another user": (
        403,
        lambda user, **headers: user.send("GET", "/api/nobody/tasks", headers=headers),
        [NO_STORE],
    ),
    "no task": (404, lambda user, **headers: user.get(2**62, headers=headers), [NO_STORE]),
    "no path": (404, public("/api/nope/nope"), [NO_STORE]),
    "wrong method": (
        405,
        lambda user, **headers: user.send("DELETE", user.url, headers=headers),
        [NO_STORE],
    ),
    "stale": (
        412,
        lambda user, **headers: user.put(
            user.create(), {"title": "x"}, headers={"If-Match": '"stale"', **headers}
        ),
        [NO_STORE],
    ),
    "too large": (
        413,
        lambda user, **headers: user.post({"title": "x" * 70_000}, headers=headers),
        [NO_STORE],
    ),
    "another type": (
        415,
        lambda user, **headers: user.post(
            content=b"x", headers={"Content-Type": "text/plain", **headers}
        ),
        [NO_STORE],
    ),
    "bad field": (422, lambda user, **headers: user.post({}, headers=headers), [NO_STORE]),
    "bad JSON": (
        422,
        lambda user, **headers: user.post(content=b"{", headers={**JSON, **headers}),
        [NO_STORE],
    ),
    "bad id": (422, lambda user, **headers: user.get("abc", headers=headers), [NO_STORE]),
    "bad parameter": (
        422,
        lambda user, **headers: user.send("GET", f"{user.url}?limit=0", headers=headers),
        [NO_STORE],
    ),
    "health": (200, public("/api/health"), [NO_STORE]),
    "ready": (200, public("/api/health/ready"), [NO_STORE]),
    "OpenAPI": (200, public("/api/openapi.json"), [PUBLIC]),
    "docs": (200, public("/api/docs"), [PUBLIC]),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def request_kind(user: User, kind: str, **headers: str) -> httpx2.Response:
    """A response of this kind to a request with these headers."""
    status, send, _ = KINDS[kind]
    response = send(user, **headers)
    assert response.status_code == status, response.text
    return response


def preflight(
    user: User, origin: str, method: str = "GET", headers_wanted: str = ""
) -> httpx2.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers_wanted:
        headers["Access-Control-Request-Headers"] = headers_wanted
    return user.client.options(user.url, headers=headers)


# Every response


@every_kind
def test_every_response_has_the_clients_request_id(user: User, kind: str) -> None:
    for request_id in ("a", "7", "A-z.0_9", "x" * 128):
        response = request_kind(user, kind, **{"X-Request-ID": request_id})
        assert response.headers.get_list("X-Request-ID") == [request_id]


@every_kind
def test_every_response_has_a_new_request_id_without_one_from_the_client(
    user: User, kind: str
) -> None:
    first, second = (request_kind(user, kind).headers["X-Request-ID"] for _ in range(2))
    assert REQUEST_ID.fullmatch(first)
    assert REQUEST_ID.fullmatch(second)
    assert first != second


@pytest.mark.parametrize(
    "malformed",
    [
        "",
        "x" * 129,
        "two words",
        "a/b",
        "a,b",
        "a;b",
        "{}",
        '"a"',
        "a\tb",
        "é",
        "<b>",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("kind", ["list", "no token", "health", "no path"])
def test_a_malformed_request_id_is_replaced(user: User, kind: str, malformed: str) -> None:
    response = KINDS[kind][1](user, **{"X-Request-ID": malformed.encode()})
    assert response.status_code == KINDS[kind][0]
    given = response.headers["X-Request-ID"]
    assert REQUEST_ID.fullmatch(given)
    assert given != malformed


@every_kind
def test_every_response_forbids_content_sniffing(user: User, kind: str) -> None:
    assert request_kind(user, kind).headers["X-Content-Type-Options"] == "nosniff"


@every_kind
def test_only_documentation_and_single_tasks_are_cacheable(user: User, kind: str) -> None:
    assert tokens(request_kind(user, kind).headers["Cache-Control"]) in KINDS[kind][2]


@every_kind
def test_responses_are_json_or_have_no_body(user: User, kind: str) -> None:
    response = request_kind(user, kind)
    if response.status_code in (204, 304):
        assert response.content == b""
    elif kind != "docs":
        assert response.headers["Content-Type"].partition(";")[0] == "application/json"
        response.json()


# CORS


@every_kind
def test_an_allowed_origin_may_read_every_response(user: User, kind: str) -> None:
    headers = request_kind(user, kind, Origin=HOME).headers
    assert headers.get_list("Access-Control-Allow-Origin") == [HOME]
    assert tokens(headers["Access-Control-Expose-Headers"]) >= EXPOSED
    assert "origin" in tokens(headers["Vary"])
    assert "Access-Control-Allow-Credentials" not in headers, "only when configured"


@every_kind
def test_another_origin_may_read_no_response(user: User, kind: str) -> None:
    headers = request_kind(user, kind, Origin="https://evil.example").headers
    assert "Access-Control-Allow-Origin" not in headers


@every_kind
def test_no_response_allows_every_origin(user: User, kind: str) -> None:
    assert request_kind(user, kind).headers.get("Access-Control-Allow-Origin") in (None, HOME)


@pytest.mark.parametrize("origin", FOREIGN)
def test_only_the_exact_origin_is_allowed(user: User, origin: str) -> None:
    assert "Access-Control-Allow-Origin" not in request_kind(user, "list", Origin=origin).headers
    for response in (preflight(user, origin), preflight(user, origin, "PUT", "authorization")):
        assert response.status_code < 500
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_a_preflight_allows_every_method_and_header_of_the_api(user: User, method: str) -> None:
    wanted = (
        "authorization, content-type, idempotency-key, if-match, if-none-match, x-request-id,"
        "baggage,sentry-trace,traceparent,tracestate,"
        "last-event-id,mcp-method,mcp-name,mcp-protocol-version,mcp-session-id"
    )
    response = preflight(user, HOME, method, wanted)
    assert response.status_code in (200, 204)
    assert response.headers.get_list("Access-Control-Allow-Origin") == [HOME]
    assert method.lower() in tokens(response.headers["Access-Control-Allow-Methods"])
    assert tokens(response.headers["Access-Control-Allow-Headers"]) >= tokens(wanted)
    assert "Access-Control-Allow-Credentials" not in response.headers


@pytest.mark.parametrize(
    "header",
    [
        "x-requested-with",
        "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags",
        "uber-trace-id",
        "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-origin",
        "x-datadog-sampling-priority", "x-datadog-tags",
        "newrelic", "elastic-apm-traceparent", "x-amzn-trace-id", "x-cloud-trace-context",
        "request-id", "request-context",
    ],
)  # fmt: skip
def test_a_preflight_allows_what_libraries_and_tracing_add(user: User, header: str) -> None:
    response = preflight(user, HOME, "POST", f"authorization,content-type,{header}")
    assert response.status_code in (200, 204)
    assert header in tokens(response.headers["Access-Control-Allow-Headers"])


def test_a_preflight_is_cached_and_needs_no_token(user: User) -> None:
    response = preflight(user, HOME, "PUT", "authorization")
    assert response.status_code in (200, 204)
    assert int(response.headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize("path", ["", "/1", "/1/complete", "/", "/1/", "/1/complete/"])
def test_a_preflight_works_on_every_path(user: User, path: str) -> None:
    response = user.client.options(
        user.url + path, headers={"Origin": HOME, "Access-Control-Request-Method": "PATCH"}
    )
    assert response.status_code in (200, 204)
    assert response.headers["Access-Control-Allow-Origin"] == HOME


@pytest.mark.parametrize("origin", [HOME, "https://evil.example"])
def test_a_preflight_has_the_request_id_and_forbids_content_sniffing(
    user: User, origin: str
) -> None:
    response = user.client.options(
        user.url,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "GET",
            "X-Request-ID": "preflight-1",
        },
    )
    assert response.headers["X-Request-ID"] == "preflight-1"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_preflight_does_not_allow_an_unknown_header(user: User) -> None:
    allowed = preflight(user, HOME, "GET", "x-evil").headers.get("Access-Control-Allow-Headers")
    assert not tokens(allowed) & {"x-evil", "*"}


# HEAD

# Headers that differ between two requests.
VARYING = {
    "age",
    "apigw-requestid",
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "transfer-encoding",
    "x-request-id",
    "x-vercel-cache",
    "x-vercel-id",
}


def assert_head_is_get_without_body(user: User, url: str, **headers: str) -> None:
    got, head = (user.send(method, url, headers=headers) for method in ("GET", "HEAD"))
    assert head.status_code == got.status_code
    assert head.content == b""
    same = {name: value for name, value in got.headers.items() if name not in VARYING}
    assert {name: value for name, value in head.headers.items() if name not in VARYING} == same
    # Content-Length may be absent. If it is present, it is that of GET.
    if "ready" not in url and "Content-Encoding" not in got.headers:
        assert head.headers.get("Content-Length", str(len(got.content))) == str(len(got.content))


@pytest.mark.parametrize(
    "query", ["", "/", "?limit=1", "?limit=1&count=true", "?status=completed", "?q=x", "?limit=0"]
)
def test_head_of_a_list_is_get_without_the_body(user: User, query: str) -> None:
    user.create("one")
    user.create("two")
    assert_head_is_get_without_body(user, user.url + query)
    head = user.send("HEAD", f"{user.url}?limit=1&count=true")
    assert head.headers["X-Total-Count"] == "2"
    assert next_link(head)


@pytest.mark.parametrize("slash", ["", "/"])
def test_head_of_a_task_is_get_without_the_body(user: User, slash: str) -> None:
    task = user.create()
    url = user.url_of(task) + slash
    assert_head_is_get_without_body(user, url)
    assert_head_is_get_without_body(user, url, Origin=HOME)
    assert_head_is_get_without_body(user, url, **{"If-None-Match": etag(user.get(task))})
    assert etag(user.send("HEAD", url)) == etag(user.get(task))


@pytest.mark.parametrize("path", ["/2147483648", "/abc", "/1/nope", "/" + "9" * 30])
def test_head_of_a_missing_task_is_get_without_the_body(user: User, path: str) -> None:
    assert_head_is_get_without_body(user, user.url + path)


def test_head_of_another_users_list_is_403(user: User, other_user: User) -> None:
    assert_head_is_get_without_body(other_user, user.url)
    assert other_user.send("HEAD", user.url).status_code == 403


@pytest.mark.parametrize(
    "path", ["/api/health", "/api/health/ready", "/api/openapi.json", "/api/docs"]
)
def test_head_of_a_public_page_is_get_without_the_body(user: User, path: str) -> None:
    assert user.client.head(path).status_code == 200
    assert_head_is_get_without_body(user, path)


# Trailing slashes


def test_a_trailing_slash_makes_no_difference(user: User) -> None:
    created = user.send("POST", f"{user.url}/", json={"title": "Buy milk"})
    assert created.status_code == 201
    task = created.json()
    assert created.headers["Location"] == user.url_of(task)
    url = f"{user.url_of(task)}/"

    assert user.send("GET", f"{user.url}/").json() == [task]
    assert user.send("GET", f"{user.url}/?status=completed").json() == []
    assert user.send("GET", url).json() == task
    changed = user.send("PUT", url, json={"title": "Buy bread"})
    assert (changed.status_code, changed.json()["title"]) == (200, "Buy bread")
    toggled = user.send("PATCH", f"{user.url_of(task)}/complete/")
    assert (toggled.status_code, toggled.json()["completed"]) == (200, True)
    opened = user.send("PATCH", f"{user.url_of(task)}/complete/", json={"completed": False})
    assert (opened.status_code, opened.json()["completed"]) == (200, False)
    assert user.send("DELETE", url).status_code == 204
    assert user.list().json() == []


def test_paging_works_with_a_trailing_slash(user: User) -> None:
    made = [user.create(f"{number}") for number in range(3)]
    response, seen = user.send("GET", f"{user.url}/?limit=1"), []
    while True:
        seen += response.json()
        link = next_link(response)
        if not link:
            break
        response = user.send("GET", link)
    assert seen == made[::-1]


@pytest.mark.parametrize(
    "path", ["/api/health", "/api/health/ready", "/api/openapi.json", "/api/docs"]
)
def test_public_pages_accept_a_trailing_slash(user: User, path: str) -> None:
    response = user.client.get(f"{path}/")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == user.client.get(path).headers["Content-Type"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    ["/api/{user}/tasks/", "/api/{user}/tasks/1/", "/api/{user}/tasks/1/complete/", "/api/nope/"],
)
def test_nothing_is_ever_redirected(user: User, method: str, path: str) -> None:
    for response in (
        user.send(method, path.format(user=user.id)),
        user.client.request(method, path.format(user=user.id)),
    ):
        assert not 300 <= response.status_code < 400
        assert response.status_code < 500
        assert response.status_code == 201 or "Location" not in response.headers


def test_errors_are_the_same_with_a_trailing_slash(user: User, other_user: User) -> None:
    assert_error(user.client.get(f"{user.url}/"), 401)
    assert_error(other_user.send("GET", f"{user.url}/"), 403)
    assert_error(user.send("GET", f"{user.url}/abc/"), 422)
    assert_error(user.send("GET", f"{user.url}/{2**62}/"), 404)
    assert_error(user.send("POST", f"{user.url}/", json={}), 422)
