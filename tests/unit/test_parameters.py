"""The parameter reader of a route gives the same arguments as FastAPI."""

from collections.abc import AsyncGenerator
from types import FunctionType
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Cookie, Depends, Header, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from dev.app import GROUPS
from lib.errors import Forbidden
from lib.web import routing as route
from lib.web.app import create_app
from lib.web.list_parameters import TaskListQuery
from lib.web.parameters import parameter_reader
from lib.web.routing import AuthenticatedRoute, CurrentUser
from tests.conftest import SECRET, bearer

ALICE = bearer("alice", exp=4_000_000_000)


class Filter(BaseModel):
    word: str = "all"
    limit: Annotated[int, Field(ge=1)] | None = None


class Note(BaseModel):
    text: Annotated[str, Field(min_length=1)]
    stars: int = 3


Etag = Annotated[str | None, Header(alias="If-Match")]


async def simple(
    request: Request,
    caller: CurrentUser,
    number: int,
    query: Annotated[Filter, Query()],
    note: Note | None = None,
    x_times: Annotated[int, Header(ge=0)] = 7,
    etag: Etag = None,
) -> Response:
    return Response(repr((request.method, caller.id, number, query, note, x_times, etag)))


async def with_body(caller: CurrentUser, number: int, note: Note) -> Response:
    return Response(repr((caller.id, number, note)))


async def with_header(
    caller: CurrentUser, number: int, x_times: Annotated[int, Header()]
) -> Response:
    return Response(repr((caller.id, number, x_times)))


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BETTER_AUTH_SECRET", SECRET)


def send(client: TestClient, path: str, headers: Any = (), **rest: Any) -> httpx2.Response:
    return client.post(f"/api/alice/{path}", headers=[*ALICE.items(), *headers], **rest)


def client_of(*endpoints: FunctionType, **more: Any) -> TestClient:
    router = APIRouter(
        prefix="/api/{user_id}", route_class=AuthenticatedRoute, strict_content_type=False
    )
    for endpoint in endpoints:
        path = f"/{endpoint.__name__}/{{number}}"
        router.add_api_route(path, endpoint, methods=["POST"], response_model=None, **more)
    return TestClient(create_app(router))


REQUESTS: dict[str, dict[str, Any]] = {
    "no optional parameter": {"path": "simple/1"},
    "a body": {"path": "simple/1", "json": {"text": "a"}},
    "a body with more": {"path": "simple/1", "json": {"text": "a", "stars": 5, "more": 1}},
    "null": {"path": "simple/1", "content": b"null"},
    "an empty object": {"path": "simple/1", "json": {}},
    "a wrong field": {"path": "simple/1", "json": {"text": ""}},
    "a list": {"path": "simple/1", "json": []},
    "a string": {"path": "simple/1", "json": "text"},
    "a wrong path": {"path": "simple/one"},
    "everything wrong": {
        "path": "simple/one?limit=0", "json": {"text": 1}, "headers": [("X-Times", "-1")]
    },
    "a query": {"path": "simple/1?word=a&word=b&limit=3&other=1"},
    "an empty value": {"path": "simple/1?limit="},
    "no value": {"path": "simple/1?word"},
    "a wrong value": {"path": "simple/1?limit=0"},
    "a query beyond ASCII": {"path": "simple/1?word=%00%C3%28"},
    "headers": {"path": "simple/1", "headers": [("X-Times", "12"), ("if-match", '"1"')]},
    "an empty header": {"path": "simple/1", "headers": [("X-Times", "")]},
    "a wrong header": {"path": "simple/1", "headers": [("X-Times", "many")]},
    "a repeated header": {"path": "simple/1", "headers": [("If-Match", "a"), ("If-Match", "b")]},
    "a missing body": {"path": "with_body/1"},
    "null as body": {"path": "with_body/1", "content": b"null"},
    "the required body": {"path": "with_body/1", "json": {"text": "a"}},
    "a wrong body": {"path": "with_body/1", "json": {"text": "a", "stars": "x"}},
    "a missing header": {"path": "with_header/1"},
    "the required header": {"path": "with_header/1", "headers": [("X-Times", "1")]},
}  # fmt: skip


@pytest.mark.parametrize("options", REQUESTS.values(), ids=REQUESTS)
def test_the_response_is_that_of_fastapi_alone(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoints = simple, with_body, with_header
    ours = client_of(*endpoints)
    monkeypatch.setattr(route, "parameter_reader", lambda *_: None)
    fastapis = client_of(*endpoints)
    response, expected = (send(client, **options) for client in (ours, fastapis))
    assert (response.status_code, response.text) == (expected.status_code, expected.text)


def test_parameters_of_simple_routes_are_read_without_fastapi(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def solve(**_: Any) -> None:
        raise AssertionError("FastAPI read the parameters")

    monkeypatch.setattr("fastapi.routing.solve_dependencies", solve)
    client = client_of(simple)
    for name in ("a body", "headers", "a query", "null"):
        assert send(client, **REQUESTS[name]).status_code == 200


def test_every_task_route_has_a_parameter_reader() -> None:
    routes = [each for group in GROUPS for each in group.router.routes]
    authenticated = [each for each in routes if isinstance(each, AuthenticatedRoute)]
    assert authenticated
    for each in authenticated:
        assert parameter_reader(each, {route.get_current_user: "user"}), each.name


async def refuse() -> None:
    raise Forbidden


async def provide() -> AsyncGenerator[str]:
    yield "value"


async def with_a_dependency(number: int, thing: Annotated[str, Depends(provide)]) -> Response:
    return Response(f"{number} {thing}")


async def with_a_cookie(number: int, flavour: Annotated[str, Cookie()] = "plain") -> Response:
    return Response(f"{number} {flavour}")


async def with_lists(
    number: int, word: Annotated[list[str], Query()], x_word: Annotated[list[str], Header()]
) -> Response:
    return Response(f"{number} {word} {x_word}")


async def with_two_bodies(number: int, first: Note, second: Note) -> Response:
    return Response(f"{number} {first} {second}")


async def with_the_response(number: int, response: Response) -> Response:
    response.headers["X-Number"] = str(number)
    return Response(f"{number} {list(response.headers)}")


async def that_returns_data(number: int) -> dict[str, int]:
    return {"number": number}


def in_a_thread(number: int) -> Response:
    return Response(f"{number} of a plain function")


OTHERS = {
    with_a_dependency: "1 value",
    with_a_cookie: "1 plain",
    with_lists: "1 ['a', 'b'] ['c, d']",
    with_two_bodies: "1 text='a' stars=3 text='b' stars=3",
    with_the_response: "1 ['x-number']",
    that_returns_data: '{"number":1}',
    in_a_thread: "1 of a plain function",
}


@pytest.mark.parametrize(("endpoint", "expected"), OTHERS.items())
def test_other_routes_are_left_to_fastapi(endpoint: FunctionType, expected: str) -> None:
    options: dict[str, Any] = {"headers": [("X-Word", "c"), ("X-Word", "d")]}
    if endpoint is with_two_bodies:
        options["json"] = {"first": {"text": "a"}, "second": {"text": "b"}}
    path = f"{endpoint.__name__}/1?word=a&word=b"
    assert send(client_of(endpoint), path, **options).text == expected


def test_a_dependency_of_the_route_itself_is_called() -> None:
    client = client_of(simple, dependencies=[Depends(refuse)])
    assert send(client, "simple/1").status_code == 403


def test_a_dependency_of_an_including_router_is_called() -> None:
    inner = APIRouter(prefix="/api/{user_id}", route_class=AuthenticatedRoute)
    inner.add_api_route("/simple/{number}", simple, methods=["POST"])
    outer = APIRouter()
    outer.include_router(inner, dependencies=[Depends(refuse)])
    assert send(TestClient(create_app(outer)), "simple/1").status_code == 403


LISTS = [
    "", "tag=a", "tag=a&tag=b", "tag=&tag=b", "tags=a,b", "tags=a&tags=b,c", "search=a&search=b",
    "priority=low", "priority=LOW&priority=high,none", "priority=", "status=&status=DONE",
    "status=done&status=", "sort=-title&sort_by=x", "sortBy=-due", "completed=true&completed=false",
    "limit=5&page=3&page=2", "limit=5&page=2", "skip=3&per_page=2", "limit=5&offset=1&offset=2",
    "due_from=2026-12-24&due_to=", "q=%00", "limit=0", "limit=x&status=x", "page=2", "completed=x",
    "offset=1", "unknown=1&unknown=2", "cursor=a&limit=2", "order=DESC&sortOrder=asc", "count=TRUE",
]  # fmt: skip


@pytest.mark.parametrize("query", LISTS)
def test_the_query_of_a_list_is_that_of_fastapi_alone(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(request: Request, user: CurrentUser, query: TaskListQuery) -> Response:
        return Response(repr((user.id, query.list_identity(), query)))

    def client() -> TestClient:
        router = APIRouter(prefix="/api/{user_id}", route_class=AuthenticatedRoute)
        router.add_api_route("/listed", listed, methods=["GET"])
        return TestClient(create_app(router))

    ours = client()
    monkeypatch.setattr(route, "parameter_reader", lambda *_: None)
    fastapis = client()
    response, expected = (
        each.get(f"/api/alice/listed?{query}", headers=ALICE) for each in (ours, fastapis)
    )
    assert response.status_code in (200, 422)
    assert (response.status_code, response.text) == (expected.status_code, expected.text)
