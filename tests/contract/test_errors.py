"""Errors have one form, and invalid input never causes a 5xx or a partly written task."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.contract.responses import assert_error, tokens
from tests.contract.users import User

JSON = {"Content-Type": "application/json"}
LIMIT = 64 * 1024
CANARY = "canary-5c1f"

# For PATCH the first two count as no body: it toggles.
NOT_JSON = {
    "empty": b"",
    "blank": b"  \n",
    "word": b"title",
    "broken": b'{"title": "Buy milk"',
    "single quotes": b"{'title': 'Buy milk'}",
    "no quotes": b"{title: 1}",
    "trailing comma": b'{"title": "Buy milk",}',
    "comment": b'{"title": "Buy milk"} // note',
    "trailing data": b'{"title": "Buy milk"} {}',
    "two values": b'{"title": "Buy milk"}{"title": "Buy bread"}',
    "form": b"title=Buy+milk",
    "XML": b"<task><title>Buy milk</title></task>",
    "raw newline in a text": b'{"title": "Buy\nmilk"}',
    "raw NUL in a text": b'{"title": "Buy\x00milk"}',
    "bad escape": rb'{"title": "\x41"}',
    "cut escape": rb'{"title": "\u00"}',
    "NaN": b'{"title": "Buy milk", "completed": NaN}',
    "NaN in an unknown field": b'{"title": "Buy milk", "priority": NaN}',
    "Infinity": b'{"title": "Buy milk", "priority": Infinity}',
    "minus Infinity": b'{"title": "Buy milk", "priority": -Infinity}',
    "leading zero": b'{"title": "Buy milk", "priority": 01}',
    "plus sign": b'{"title": "Buy milk", "priority": +1}',
    "hexadecimal": b'{"title": "Buy milk", "priority": 0x1}',
    "same name twice": b'{"title": "Buy milk", "title": "Buy bread"}',
    "same name twice, once escaped": rb'{"title": "Buy milk", "t\u0069tle": "Buy bread"}',
    "same unknown name twice": b'{"title": "Buy milk", "a": 1, "a": 2}',
    "same name twice, deep": b'{"title": "Buy milk", "a": {"b": 1, "b": 2}}',
    "invalid UTF-8": b'{"title": "Buy \xff milk"}',
    "cut UTF-8": b'{"title": "Buy \xc3"}',
    "overlong UTF-8": b'{"title": "Buy \xc0\x80"}',
    "UTF-8 of a surrogate": b'{"title": "Buy \xed\xa0\x80"}',
    "beyond Unicode": b'{"title": "Buy \xf5\x80\x80\x80"}',
    "Latin-1": '{"title": "Käse"}'.encode("latin-1"),
    "UTF-16": '{"title": "Buy milk"}'.encode("utf-16"),
    "UTF-16 LE": '{"title": "Buy milk"}'.encode("utf-16-le"),
    "UTF-16 BE": '{"title": "Buy milk"}'.encode("utf-16-be"),
    "UTF-32": '{"title": "Buy milk"}'.encode("utf-32"),
    "byte order mark": b'\xef\xbb\xbf{"title": "Buy milk"}',
    "60000 brackets": b"[" * 60000,
    "60000 braces": b'{"a":' * 12000,
    "gzip": bytes.fromhex("1f8b0800000000000203") + b"\x00" * 20,
    "random bytes": bytes(range(256)),
}
NOT_AN_OBJECT = {
    "null": b"null",
    "true": b"true",
    "number": b"1",
    "text": b'"Buy milk"',
    "empty list": b"[]",
    "list": b'[{"title": "Buy milk"}]',
    "list of pairs": b'[["title", "Buy milk"]]',
    "30000 deep": b"[" * 30000 + b"]" * 30000,
    "5000 digits": b"9" * 5000,
}
WRONG_SHAPES = {
    "5000 digits as title": b'{"title": %b}' % (b"9" * 5000),
    "1e999 as title": b'{"title": 1e999}',
    "5000 digits as completed": b'{"title": "x", "completed": %b}' % (b"9" * 5000),
    "1e999 as completed": b'{"title": "x", "completed": 1e999}',
    "30000 deep as title": b'{"title": ' + b"[" * 30000 + b"]" * 30000 + b"}",
    "surrogate where a bool belongs": rb'{"title": "x", "completed": "\ud800"}',
}
ALLOWED = {
    "/api/{user}/tasks": {"get", "head", "post"},
    "/api/{user}/tasks/stats": {"get", "head"},
    "/api/{user}/tasks/{task}": {"get", "head", "put", "patch", "delete"},
    "/api/{user}/tasks/changes": {"get", "head"},
    "/api/{user}/tasks/{task}/complete": {"patch"},
    "/api/{user}/tasks/{task}/restore": {"post"},
    "/api/tasks": {"get", "head", "post"},
    "/api/tasks/stats": {"get", "head"},
    "/api/tasks/{task}": {"get", "head", "put", "patch", "delete"},
    "/api/tasks/changes": {"get", "head"},
    "/api/tasks/{task}/complete": {"patch"},
    "/api/tasks/{task}/restore": {"post"},
    "/api/health": {"get", "head"},
    "/api/health/ready": {"get", "head"},
    "/api/openapi.json": {"get", "head"},
    "/api/docs": {"get", "head"},
}


def send_body(user: User, method: str, content: bytes, **headers: str) -> httpx2.Response:
    """Send a body to the route of this method. PUT and PATCH change a new task."""
    if method == "POST":
        return user.post(content=content, headers=headers)
    task = user.create("untouched")
    url = user.url_of(task) + ("/complete" if method == "PATCH" else "")
    return user.send(method, url, content=content, headers=headers)


def assert_nothing_written(user: User) -> None:
    for task in user.list().json():
        assert task["title"] == "untouched"
        assert task["completed"] is False


# Bodies that are not JSON, or JSON of another form


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_a_body_that_is_not_json_is_422(user: User, method: str, content: bytes) -> None:
    assert_error(send_body(user, method, content, **JSON), 422)
    assert_nothing_written(user)


@pytest.mark.parametrize("content", list(NOT_JSON.values())[2:], ids=list(NOT_JSON)[2:])
def test_complete_rejects_a_body_that_is_not_json(user: User, content: bytes) -> None:
    assert_error(send_body(user, "PATCH", content, **JSON), 422)
    assert_nothing_written(user)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("content", NOT_AN_OBJECT.values(), ids=NOT_AN_OBJECT)
def test_a_body_that_is_not_an_object_is_422(user: User, method: str, content: bytes) -> None:
    response = send_body(user, method, content, **JSON)
    if method == "PATCH" and content == b"null" and response.status_code == 200:
        return  # The contract leaves open whether null is no body.
    assert_error(response, 422)
    assert_nothing_written(user)


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("content", WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_value_too_large_or_too_deep_is_422(user: User, method: str, content: bytes) -> None:
    assert_error(send_body(user, method, content, **JSON), 422)
    assert_nothing_written(user)


def test_the_server_still_works_after_all_invalid_bodies(user: User) -> None:
    for content in (
        *NOT_JSON.values(),
        *NOT_AN_OBJECT.values(),
        *WRONG_SHAPES.values(),
    ):
        user.post(content=content, headers=JSON)
    assert user.create("Buy milk")["title"] == "Buy milk"
    assert user.titles() == ["Buy milk"]


# Content types


@pytest.mark.parametrize(
    "declared",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON",
        None,
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_json_is_accepted_with_and_without_a_content_type(
    user: User, method: str, declared: str | None
) -> None:
    content = b'{"completed": true}' if method == "PATCH" else b'{"title": "Buy milk"}'
    headers = {"Content-Type": declared} if declared else {}
    assert send_body(user, method, content, **headers).is_success


@pytest.mark.parametrize(
    "declared",
    [
        "text/plain",
        "text/plain; charset=utf-8",
        "text/html",
        "text/json",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/octet-stream",
        "application/jsonx",
        "application/x-json",
        "image/png",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("content", [b"title=Buy+milk", b'{"title": "x", "completed": true}'])
def test_another_content_type_is_415(
    user: User, method: str, declared: str, content: bytes
) -> None:
    assert_error(send_body(user, method, content, **{"Content-Type": declared}), 415)
    assert_nothing_written(user)


@pytest.mark.parametrize("declared", ["json", "/", ";", ",", "application/", "é", "x" * 3000])
def test_a_malformed_content_type_is_rejected(user: User, declared: str) -> None:
    response = user.post(content=b'{"title": "x"}', headers={"Content-Type": declared.encode()})
    assert_error(response, 400, 415, 422)
    assert user.list().json() == []


@pytest.mark.parametrize(
    "declared",
    [
        "application/merge-patch+json",
        "application/vnd.api+json",
        "application/json; charset=utf-16",
    ],
)
def test_a_content_type_related_to_json_is_accepted_or_415(user: User, declared: str) -> None:
    response = user.post(content=b'{"title": "Buy milk"}', headers={"Content-Type": declared})
    assert response.status_code == 201 or assert_error(response, 415, 422)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip", "x"])
def test_a_compressed_body_is_rejected(user: User, coding: str) -> None:
    import gzip

    response = user.post(
        content=gzip.compress(b'{"title": "Buy milk"}'),
        headers={**JSON, "Content-Encoding": coding},
    )
    assert_error(response, 400, 415, 422)
    assert user.list().json() == []


# Size


def padded(size: int) -> bytes:
    """A valid body of exactly this many bytes."""
    body = b'{"title": "Buy milk"}'
    return body + b" " * (size - len(body))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 2, 1024 * 1024])
def test_a_body_over_64_kib_is_413(user: User, method: str, size: int) -> None:
    assert_error(send_body(user, method, padded(size), **JSON), 413)
    assert_nothing_written(user)


def test_100000_brackets_are_413(user: User) -> None:
    assert_error(user.post(content=b"[" * 100_000, headers=JSON), 413)


def test_a_chunked_body_over_64_kib_is_413(user: User) -> None:
    def pieces() -> Any:
        for _ in range(20):
            yield b" " * 4096

    assert_error(user.post(content=pieces(), headers=JSON), 413)


def test_a_chunked_body_is_read_completely(user: User) -> None:
    pieces = iter([b'{"ti', b'tle": "Buy \xc3', b'\xa4pples"', b"}"])
    response = user.post(content=pieces, headers=JSON)
    assert response.status_code == 201
    assert response.json()["title"] == "Buy äpples"


def test_a_body_of_exactly_64_kib_is_accepted(user: User) -> None:
    assert user.post(content=padded(LIMIT), headers=JSON).status_code == 201


def test_the_longest_task_fits_however_it_is_escaped(user: User) -> None:
    body = {"title": "\N{BROOM}" * 200, "description": "\N{BROOM}" * 1000}
    response = user.post(content=json.dumps(body).encode(), headers=JSON)
    assert response.status_code == 201
    assert response.json()["description"] == body["description"]


# Methods and paths


@pytest.mark.parametrize("path", ALLOWED)
def test_a_wrong_method_is_405_and_allow_lists_all_methods_of_the_path(
    user: User, path: str
) -> None:
    task = user.create()
    url = path.format(user=user.id, task=task["id"])
    for method in {"get", "post", "put", "patch", "delete"} - ALLOWED[path]:
        for slash in ("", "/"):
            response = user.send(method.upper(), url + slash)
            assert_error(response, 405)
            assert tokens(response.headers["Allow"]) - {"options"} == ALLOWED[path]
    assert user.list().json() == [task]


def test_head_is_405_on_a_path_without_get(user: User) -> None:
    response = user.send("HEAD", user.url_of(user.create()) + "/complete")
    assert response.status_code == 405
    assert "patch" in tokens(response.headers["Allow"])
    assert response.content == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_wrong_method_is_405_with_any_body(user: User, method: str) -> None:
    url = {"POST": f"{user.url}/1", "PUT": user.url, "PATCH": user.url}[method]
    for content, headers in ((b"{", JSON), (b"x", {"Content-Type": "text/plain"})):
        assert_error(user.send(method, url, content=content, headers=headers), 405)


def test_a_wrong_method_without_access_is_rejected(user: User, other_user: User) -> None:
    assert_error(user.client.delete(user.url), 401, 405)
    assert_error(other_user.send("DELETE", user.url), 403, 405)


def test_options_without_an_origin_is_no_server_error(user: User) -> None:
    assert user.client.options(user.url).status_code < 500


# The content of errors


def test_422_names_the_invalid_fields(user: User) -> None:
    body = assert_error(user.post({"description": "no title"}), 422)
    assert any("title" in error["loc"] for error in body["errors"])
    body = assert_error(user.post({"title": "x", "description": 1, "completed": "x"}), 422)
    named = {step for error in body["errors"] for step in error["loc"]}
    assert {"description", "completed"} <= named
    body = assert_error(user.list(limit="0", status="x"), 422)
    named = {step for error in body["errors"] for step in error["loc"]}
    assert {"limit", "status"} <= named


TITLE_201 = {"title": "x" * 201}
# The request, the sentence in `detail`, and the first of `errors`.
SENTENCES: dict[str, tuple[Callable[[User], httpx2.Response], str, list[str], str, str]] = {
    "no title": (
        lambda user: user.post({}),
        "Title is required.", ["body", "title"], "is missing", "missing",
    ),
    "blank title": (
        lambda user: user.post({"title": " "}),
        "Title must have 1 or more characters.",
        ["body", "title"], "must have 1 or more characters", "string_too_short",
    ),
    "long title": (
        lambda user: user.put(user.create(), TITLE_201),
        "Title must have 200 or fewer characters.",
        ["body", "title"], "must have 200 or fewer characters", "string_too_long",
    ),
    "title of another type": (
        lambda user: user.post({"title": 1}),
        "Title must be a string.", ["body", "title"], "must be a string", "string_type",
    ),
    "NUL": (
        lambda user: user.post({"title": "x", "description": "\0"}),
        "Description must not contain the NUL character.",
        ["body", "description"], "must not contain the NUL character", "value_error",
    ),
    "completed": (
        lambda user: user.post({"title": "x", "completed": "yes"}),
        "Completed must be true or false.",
        ["body", "completed"], "must be true or false", "bool_type",
    ),
    "no body": (
        lambda user: user.post(content=b"", headers=JSON),
        "The request body is required.", ["body"], "is missing", "missing",
    ),
    "no object": (
        lambda user: user.post([]),
        "The request body must be an object.",
        ["body"], "must be an object", "model_attributes_type",
    ),
    "no JSON": (
        lambda user: user.post(content=b"{", headers=JSON),
        "The request body is not valid JSON.",
        ["body"], "The request body is not valid JSON.", "json_invalid",
    ),
    "limit": (
        lambda user: user.list(limit="many"),
        "Limit must be a whole number.",
        ["query", "limit"], "must be a whole number", "value_error",
    ),
    "high limit": (
        lambda user: user.list(limit="101"),
        "Limit must be 100 or less.",
        ["query", "limit"], "must be 100 or less", "less_than_equal",
    ),
    "low limit": (
        lambda user: user.list(limit="0"),
        "Limit must be 1 or more.",
        ["query", "limit"], "must be 1 or more", "greater_than_equal",
    ),
    "id": (
        lambda user: user.get("abc"),
        "Task id must be a positive integer.",
        ["path", "task_id"], "must be a positive integer", "value_error",
    ),
    "key": (
        lambda user: user.post({"title": "x"}, headers={"Idempotency-Key": "a b"}),
        "Idempotency-Key must have 1 to 255 visible ASCII characters.",
        ["header", "Idempotency-Key"], "must have 1 to 255 visible ASCII characters", "value_error",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SENTENCES)
def test_the_detail_of_a_422_is_a_sentence_for_people(user: User, case: str) -> None:
    send, sentence, location, message, kind = SENTENCES[case]
    body = assert_error(send(user), 422)
    assert body["detail"] == sentence
    assert body["errors"] == [{"loc": location, "msg": message, "type": kind}]


def test_the_detail_of_several_errors_is_about_the_first(user: User) -> None:
    body = assert_error(user.post({"title": "", "completed": 1}), 422)
    assert body["detail"] == "Title must have 1 or more characters."
    assert [error["loc"][-1] for error in body["errors"]] == ["title", "completed"]


@pytest.mark.parametrize("name", ["status", "sort", "order"])
def test_the_detail_of_an_unknown_value_lists_the_known_ones(user: User, name: str) -> None:
    body = assert_error(user.list(**{name: "x"}), 422)
    assert body["detail"].startswith(f"{name.capitalize()} must be '")
    assert body["detail"].endswith("'.")
    assert body["detail"] == f"{name.capitalize()} {body['errors'][0]['msg']}."


ECHOES = {
    "title too long": lambda user: user.post({"title": CANARY * 100}),
    "title of another type": lambda user: user.post({"title": [CANARY]}),
    "title an object": lambda user: user.post({"title": {CANARY: CANARY}}),
    "completed a text": lambda user: user.post({"title": "x", "completed": CANARY}),
    "PUT": lambda user: user.put(user.create(), {"title": [CANARY], "completed": CANARY}),
    "PATCH": lambda user: user.complete(user.create(), {"completed": CANARY}),
    "no object": lambda user: user.post([CANARY]),
    "no JSON": lambda user: user.post(content=f'{{"title": "{CANARY}"'.encode(), headers=JSON),
    "same name twice": lambda user: user.post(
        content=f'{{"{CANARY}": 1, "{CANARY}": 2, "title": "x"}}'.encode(), headers=JSON
    ),
    "id": lambda user: user.get(CANARY),
    "status": lambda user: user.list(status=CANARY),
    "sort": lambda user: user.list(sort=CANARY),
    "limit": lambda user: user.list(limit=CANARY),
    "count": lambda user: user.list(count=CANARY),
    "cursor": lambda user: user.list(limit=1, cursor=CANARY),
    "bad key": lambda user: user.post({"title": "x"}, headers={"Idempotency-Key": f"{CANARY} x"}),
    "content type": lambda user: user.post(
        content=b"x", headers={"Content-Type": f"text/{CANARY}"}
    ),
    "tag": lambda user: user.put(user.create(), {}, headers={"If-Match": f'"{CANARY}"'}),
    "unknown path": lambda user: user.send("GET", f"/api/{user.id}/{CANARY}"),
    "another user": lambda user: user.send("GET", f"/api/{CANARY}/tasks"),
    "token": lambda user: user.client.get(user.url, headers={"Authorization": f"Bearer {CANARY}"}),
}


@pytest.mark.parametrize("case", ECHOES)
def test_an_error_never_echoes_input(user: User, case: str) -> None:
    response = ECHOES[case](user)
    assert_error(response, 401, 403, 404, 412, 415, 422)
    assert CANARY not in response.text
    assert CANARY not in str(response.headers)


def test_the_error_of_a_reused_key_does_not_echo_input(user: User) -> None:
    key = {"Idempotency-Key": f"{CANARY}-key"}
    user.post({"title": "x"}, headers=key)
    response = user.post({"title": CANARY}, headers=key)
    assert_error(response, 422)
    assert CANARY not in response.text


def test_no_error_reveals_internals(user: User) -> None:
    inside = ["traceback", "psycopg", "sqlalchemy", "pydantic", "starlette", "select ", 'file "']
    for send in ECHOES.values():
        text = send(user).text.lower()
        assert [word for word in inside if word in text] == []
