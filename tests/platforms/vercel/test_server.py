"""Vercel's server: the packages it uses, and the SDK that it tries to import for every request."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2
import pytest

from dev.app import GROUPS
from dev.deploy import vercel_build
from tests.support.targets import vercel_runtime
from tests.support.targets.vercel_server import copy_function

# Responds with what the process has loaded, and how often it has searched for Vercel's SDK.
REPORT = """
import api
import json
import sys

class Searches:
    count = 0

    def find_spec(self, name, path=None, target=None):
        self.count += name.partition(".")[0] == "vercel"

searches = Searches()
sys.meta_path.insert(0, searches)

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    sdk = sys.modules.get("vercel.headers")
    report = {
        "http": [name for name in sys.modules if ".uvicorn.protocols.http." in name],
        "searches": searches.count,
        "headers": getattr(sdk, "received", None),
    }
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(report).encode()})
"""
# What the runtime uses of the SDK.
SDK = """
received = None

def set_headers(headers):
    global received
    received = headers or received
"""

# Loads a function as Vercel's runtime does, and prints which measures of api/__init__.py apply.
LOAD = """
import gc
import json
import sys

from vercel_runtime.resolver import import_module

import_module(sys.argv[1].replace("/", "."), sys.argv[1] + ".py")
document = sys.modules["fastapi.openapi.models"]
report = {
    "Pydantic 1 is absent": sys.modules["pydantic.v1"] is None,
    "the SDK is absent": sys.modules["vercel"] is None,
    "models of documents are not built": not document.OpenAPI.__pydantic_complete__,
    "models that FastAPI rebuilds are not built": not document.Schema.__pydantic_complete__,
    "plugins are not searched": sys.modules["pydantic.plugin._loader"]._plugins is None,
    "garbage is collected": gc.isenabled(),
    "start is frozen": gc.get_freeze_count() > 10_000,
}
print(json.dumps(report))
"""


class Ask:
    """Gets the report through the edge, or on one connection to the server behind it."""

    def __init__(self, client: httpx2.Client, deployment: vercel_runtime.Deployment) -> None:
        self._client = client
        self._deployment = deployment

    def __call__(self) -> dict:
        return self._client.get("/api/health").raise_for_status().json()

    def kept_alive(self, requests: int) -> list[float]:
        """The seconds of each request on one connection."""
        port = self._deployment.instance("api/health").port
        seconds = []
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            for _ in range(requests):
                started = time.perf_counter()
                client.get("/api/health").raise_for_status()
                seconds.append(time.perf_counter() - started)
        return seconds


type ServeReport = Callable[..., AbstractContextManager[Ask]]


@pytest.fixture
def serve_report(built: vercel_build.Built, tmp_path: Path) -> ServeReport:
    """Serves REPORT as a function of this build; `change` edits the copy of the function."""

    @contextmanager
    def serve(change: Callable[[Path], None] = lambda _: None) -> Generator[Ask]:
        copy = copy_function(built, tmp_path, "api/health", "api/health.py")
        folder = copy.function_folder("api/health")
        (folder / "api" / "health.py").write_text(REPORT)
        change(folder)
        with (
            vercel_runtime.deploy({}, copy) as deployment,
            httpx2.Client(base_url=deployment.url, timeout=60) as client,
        ):
            yield Ask(client, deployment)

    return serve


def test_the_server_uses_httptools(serve_report: ServeReport) -> None:
    with serve_report() as ask:
        modules = ask()["http"]
    parsers = [name.rpartition(".")[2] for name in modules if name.endswith("_impl")]
    assert parsers == ["httptools_impl"]


@pytest.mark.parametrize("name", sorted(group.__name__.replace(".", "/") for group in GROUPS))
def test_a_function_imports_its_package_first(built: vercel_build.Built, name: str) -> None:
    folder = built.function_folder(name)
    done = subprocess.run(
        [Path(sys.base_prefix) / "bin" / "python3.13", "-c", LOAD, name],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{folder / '_vendor'}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [measure for measure, applies in report.items() if not applies] == []


def _without_api_package(function: Path) -> None:
    (function / "api" / "__init__.py").write_text("")


def test_the_runtime_searches_for_its_sdk_in_every_request(serve_report: ServeReport) -> None:
    with serve_report(_without_api_package) as ask:
        counts = [ask()["searches"] for _ in range(3)]
    assert counts[0] < counts[1] < counts[2], (
        "The runtime no longer searches for its SDK: remove the mark from api/__init__.py."
    )


def test_an_absent_sdk_is_not_searched_for(serve_report: ServeReport) -> None:
    with serve_report() as ask:
        assert [ask()["searches"] for _ in range(3)] == [0, 0, 0]


# Without TCP_NODELAY the body of a response waits 40 ms for the client's acknowledgement of the
# headers. The kernel acknowledges a connection's first segments at once.
FIRST, DELAY = 20, 0.03


def test_the_runtime_delays_responses_on_a_kept_alive_connection(
    serve_report: ServeReport,
) -> None:
    with serve_report(_without_api_package) as ask:
        seconds = ask.kept_alive(60)[FIRST:]
    assert sorted(seconds)[10] > DELAY, (
        "The runtime sets TCP_NODELAY now: remove the measure from api/__init__.py."
    )


def test_responses_on_a_kept_alive_connection_are_not_delayed(serve_report: ServeReport) -> None:
    with serve_report() as ask:
        seconds = ask.kept_alive(60)[FIRST:]
    assert sorted(seconds)[10] < DELAY


def _with_sdk(function: Path) -> None:
    (function / "vercel").mkdir()
    (function / "vercel" / "headers.py").write_text(SDK)


def _with_sdk_in_one_package(function: Path) -> None:
    _with_sdk(function)
    (function / "vercel" / "__init__.py").write_text("")


@pytest.mark.parametrize(
    "install",
    [
        pytest.param(_with_sdk_in_one_package, id="a package"),
        pytest.param(_with_sdk, id="a namespace"),
    ],
)
def test_an_installed_sdk_is_found(
    serve_report: ServeReport, install: Callable[[Path], None]
) -> None:
    with serve_report(install) as ask:
        headers = ask()["headers"]
    assert headers["x-vercel-ip-country"] == "DE"
