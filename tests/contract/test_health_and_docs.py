"""The routes that need no token: health and documentation."""

import re
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from tests.contract.responses import assert_error, etag, media_type, tokens

OPERATIONS = {
    "list_tasks": ("/api/{user_id}/tasks", "get"),
    "create_task": ("/api/{user_id}/tasks", "post"),
    "get_task": ("/api/{user_id}/tasks/{}", "get"),
    "update_task": ("/api/{user_id}/tasks/{}", "put"),
    "delete_task": ("/api/{user_id}/tasks/{}", "delete"),
    "complete_task": ("/api/{user_id}/tasks/{}/complete", "patch"),
    "count_tasks": ("/api/{user_id}/tasks/stats", "get"),
    "list_task_changes": ("/api/{user_id}/tasks/changes", "get"),
    "restore_task": ("/api/{user_id}/tasks/{}/restore", "post"),
    "patch_task": ("/api/{user_id}/tasks/{}", "patch"),
    "list_my_tasks": ("/api/tasks", "get"),
    "create_my_task": ("/api/tasks", "post"),
    "count_my_tasks": ("/api/tasks/stats", "get"),
    "get_my_task": ("/api/tasks/{}", "get"),
    "update_my_task": ("/api/tasks/{}", "put"),
    "patch_my_task": ("/api/tasks/{}", "patch"),
    "delete_my_task": ("/api/tasks/{}", "delete"),
    "complete_my_task": ("/api/tasks/{}/complete", "patch"),
    "list_my_task_changes": ("/api/tasks/changes", "get"),
    "restore_my_task": ("/api/tasks/{}/restore", "post"),
}
METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


@pytest.fixture
def document(client: httpx2.Client) -> dict[str, Any]:
    response = client.get("/api/openapi.json")
    assert response.status_code == 200
    assert media_type(response) == "application/json"
    return response.json()


def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Each operation by its id: path, method and description."""
    found = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]
    named = {
        operation["operationId"]: (path, method, operation) for path, method, operation in found
    }
    assert len(named) == len(found), "operation ids are unique"
    return named


def resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


# Health


@pytest.mark.parametrize("path", ["/api/health", "/api/health/ready"])
@pytest.mark.parametrize("authorization", [None, "Bearer x.y.z", "Basic eDp5"])
def test_health_ignores_tokens(client: httpx2.Client, path: str, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    response = client.get(path, headers=headers)
    assert response.status_code == 200
    assert isinstance(response.json(), dict)


@pytest.mark.parametrize("path", ["/api/health", "/api/health/ready"])
def test_health_reveals_no_secret(client: httpx2.Client, path: str, secret: str) -> None:
    text = client.get(path).text.lower()
    for word in (secret.lower(), "postgres", "password", "@"):
        assert word not in text


# The document


def test_the_document_is_openapi_3_with_a_title_and_a_version(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.")
    assert document["info"]["title"]
    assert document["info"]["version"]


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_each_task_route_is_an_operation(document: dict[str, Any], operation_id: str) -> None:
    path, method, _ = operations(document)[operation_id]
    # The contract does not fix the name of the task's parameter.
    assert (re.sub(r"\{(?!user_id)\w+\}", "{}", path), method) == OPERATIONS[operation_id]


def test_the_document_contains_the_health_routes(document: dict[str, Any]) -> None:
    assert {"/api/health", "/api/health/ready"} <= set(document["paths"])
    assert "get" in document["paths"]["/api/health"]
    assert "get" in document["paths"]["/api/health/ready"]


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_task_operations_require_a_bearer_token(
    document: dict[str, Any], operation_id: str
) -> None:
    schemes = document["components"]["securitySchemes"]
    bearer = {
        name
        for name, scheme in schemes.items()
        if scheme["type"] == "http" and scheme["scheme"].lower() == "bearer"
    }
    _, _, operation = operations(document)[operation_id]
    wanted = operation.get("security", document.get("security", []))
    assert wanted, "no token required"
    assert all(set(choice) & bearer for choice in wanted)


@pytest.mark.parametrize("path", ["/api/health", "/api/health/ready"])
def test_health_operations_require_no_token(document: dict[str, Any], path: str) -> None:
    operation = document["paths"][path]["get"]
    assert not any(operation.get("security", document.get("security", [])))


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_operation_documents_its_statuses(
    document: dict[str, Any], operation_id: str
) -> None:
    _, _, operation = operations(document)[operation_id]
    documented = set(operation["responses"])
    verb = operation_id.partition("_")[0]
    success = {"create": "201", "delete": "204"}.get(verb, "200")
    assert {success, "401", "422"} <= documented
    # Without the user in the path, only a user without an account is refused.
    assert ("403" in documented) == ("_my_" not in operation_id or verb == "create")
    assert ("404" in documented) == (verb not in ("list", "count", "create"))
    assert ("412" in documented) == (verb in ("update", "patch", "complete", "delete"))


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_documented_error_has_a_string_as_detail(
    document: dict[str, Any], operation_id: str
) -> None:
    _, _, operation = operations(document)[operation_id]
    for status, response in operation["responses"].items():
        if status.startswith(("4", "5")):
            content = resolve(document, response)["content"]["application/json"]
            detail = resolve(document, content["schema"])["properties"]["detail"]
            assert resolve(document, detail)["type"] == "string", status


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_operation_has_one_tag_and_a_summary(
    document: dict[str, Any], operation_id: str
) -> None:
    _, _, operation = operations(document)[operation_id]
    assert len(operation["tags"]) == 1
    assert operation.get("summary") or operation.get("description")


def test_the_list_documents_every_parameter(document: dict[str, Any]) -> None:
    _, _, operation = operations(document)["list_tasks"]
    named = {resolve(document, parameter)["name"] for parameter in operation["parameters"]}
    assert {"status", "sort", "order", "q", "limit", "cursor", "count"} <= named


def test_every_reference_in_the_document_resolves(document: dict[str, Any]) -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                assert part["$ref"].startswith("#/")
                resolve(document, part)
            for value in part.values():
                check(value)
        elif isinstance(part, list):
            for value in part:
                check(value)

    check(document)


# The page


class Loads(HTMLParser):
    """Collects the URLs that a browser loads with a page."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inside_style = False
        self.styles = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside_style = tag == "style"
        given = {name: value or "" for name, value in attrs}
        names = ["src", "srcset", "data", "poster", "action"]
        if tag in ("link", "base"):
            names.append("href")
        found = [given[name] for name in names if name in given]
        self.loads += [load for load in found if not load.startswith(("data:", "blob:"))]
        self.styles += given.get("style", "")

    def handle_data(self, data: str) -> None:
        if self.inside_style:
            self.styles += data


def css_loads(text: str) -> list[str]:
    named = re.findall(r"""url\(\s*['"]?([^'")]+)""", text)
    return named + re.findall(r"""@import\s+['"]([^'"]+)""", text)


def test_the_page_is_html(client: httpx2.Client) -> None:
    response = client.get("/api/docs")
    assert response.status_code == 200
    assert media_type(response) == "text/html"
    assert "<html" in response.text.lower()


def test_the_page_loads_nothing_from_other_hosts(client: httpx2.Client) -> None:
    page = client.get("/api/docs")
    here = urlsplit(str(page.url)).netloc
    waiting, seen = [(str(page.url), page)], set()
    while waiting:
        address, response = waiting.pop()
        assert response.status_code == 200, address
        loads: list[str] = []
        if media_type(response) == "text/html":
            reader = Loads()
            reader.feed(response.text)
            loads = reader.loads + css_loads(reader.styles)
        elif media_type(response) == "text/css":
            loads = css_loads(response.text)
        for load in loads:
            target = urljoin(address, load.strip())
            if target.startswith(("data:", "blob:")) or target in seen:
                continue
            seen.add(target)
            assert urlsplit(target).netloc == here, f"{address} loads {target}"
            waiting.append((target, client.get(target)))


@pytest.mark.parametrize("cdn", ["jsdelivr", "unpkg", "cdnjs", "googleapis", "gstatic", "tiangolo"])
def test_the_page_names_no_public_cdn(client: httpx2.Client, cdn: str) -> None:
    assert cdn not in client.get("/api/docs").text.lower()


def test_the_page_loads_the_document(client: httpx2.Client) -> None:
    page = client.get("/api/docs")
    reader = Loads()
    reader.feed(page.text)
    texts = [page.text, *(client.get(urljoin(str(page.url), load)).text for load in reader.loads)]
    assert any("/api/openapi.json" in text for text in texts)


# Caching and compression

FILES = {
    "/api/openapi.json": "public, max-age=300",
    "/api/docs": "public, max-age=300",
    "/api/docs/start.js": "public, max-age=300",
    "/api/docs/style.css": "public, max-age=300",
    "/api/docs/swagger-ui-bundle.min.js": "public, max-age=86400",
    "/api/docs/swagger-ui.min.css": "public, max-age=86400",
}
every_file = pytest.mark.parametrize("path", FILES)


def get(client: httpx2.Client, path: str, coding: str = "", **headers: str) -> httpx2.Response:
    return client.get(path, headers={"Accept-Encoding": coding, **headers})


@every_file
def test_documentation_is_cacheable_by_shared_caches(client: httpx2.Client, path: str) -> None:
    response = client.get(path)
    assert tokens(response.headers["Cache-Control"]) == tokens(FILES[path])
    assert "accept-encoding" in tokens(response.headers["Vary"])


@every_file
@pytest.mark.parametrize("coding", ["gzip", "br, GZIP;q=0.5", "gzip, deflate, br, zstd"])
def test_documentation_is_compressed_for_clients_that_accept_it(
    client: httpx2.Client, path: str, coding: str
) -> None:
    plain, compressed = get(client, path), get(client, path, coding)
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert compressed.content == plain.content, "decompressed by the client"
    assert compressed.headers["Content-Type"] == plain.headers["Content-Type"]
    if "Content-Length" in compressed.headers:
        assert int(compressed.headers["Content-Length"]) < len(plain.content)


@every_file
@pytest.mark.parametrize("coding", ["", "identity", "br", "gzip;q=0", "deflate, gzip ; q=0.000"])
def test_documentation_is_not_compressed_for_other_clients(
    client: httpx2.Client, path: str, coding: str
) -> None:
    # A gateway may compress by itself, with another coding that the client accepts.
    assert get(client, path, coding).headers.get("Content-Encoding") != "gzip"


@every_file
@pytest.mark.parametrize("coding", ["", "gzip"])
def test_unchanged_documentation_is_304(client: httpx2.Client, path: str, coding: str) -> None:
    response = get(client, path, coding)
    tag = etag(response)
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        unchanged = get(client, path, coding, **{"If-None-Match": condition})
        assert unchanged.status_code == 304
        assert unchanged.content == b""
        # Caches replace the stored headers with these, so they must be those of the 200.
        for name in ("ETag", "Cache-Control", "Content-Security-Policy"):
            assert unchanged.headers[name] == response.headers[name]
        assert tokens(unchanged.headers["Vary"]) == tokens(response.headers["Vary"])
    for condition in ('"other"', tag.strip('"'), ""):
        assert get(client, path, coding, **{"If-None-Match": condition}).status_code == 200


@every_file
def test_compressed_and_plain_documentation_have_different_etags(
    client: httpx2.Client, path: str
) -> None:
    plain, compressed = etag(get(client, path)), etag(get(client, path, "gzip"))
    assert plain != compressed
    # A client that has the other representation has the same content.
    assert get(client, path, "gzip", **{"If-None-Match": plain}).status_code == 304


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/api/redoc"])
def test_the_frameworks_own_pages_do_not_exist(client: httpx2.Client, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/api/docs", "/api/openapi.json", "/api/health"])
def test_public_pages_reject_other_methods(client: httpx2.Client, path: str) -> None:
    assert_error(client.post(path, json={}), 405)
