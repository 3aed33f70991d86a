"""Fixtures for all tests: a PostgreSQL for the run, a database for each worker, the API under test.

    --target=NAME   what the contract suite runs against: a module of tests/support/targets
                    (default: local)
    --transport=http
                    requests use Neon's serverless driver endpoint, which is emulated
                    (default: postgres)

DATABASE_URL and the other settings are removed from the environment: no test uses the developer's
database.
"""

import importlib
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import jwt
import pytest
from starlette.testclient import TestClient

from dev.app import GROUPS, app
from lib.db.pool import close_pools
from lib.settings import Settings, forget_settings
from lib.settings.settings import PLATFORM_VARIABLES
from migrations.errors import MigrationError
from tests.support import databases, neon_endpoint
from tests.support.certificate import write_certificate
from tests.support.databases import Cluster, Database, running_cluster

HERE = Path(__file__).parent
# Real components from npm and Debian: the emulator, the builder, Better Auth, a browser, PgBouncer.
FOLDERS_OF_VERIFY = (
    "platforms", "integrations/better_auth", "integrations/browser", "integrations/client",
    "integrations/example", "integrations/neon_driver",
    "integrations/mcp", "integrations/recovery",
    "tooling/contributor",
    # These have short time limits, which a busy machine exceeds.
    "resilience",
)  # fmt: skip
FILES_OF_VERIFY = {"test_demo.py", "test_pgbouncer.py", "test_database.py", "test_list_plans.py"}
FAST_FOLDERS = ("contract", "unit")
# The tests that take long, or much of the processors, run first, in this order: at the end,
# workers would be idle.
LONG_TESTS = (
    "tests/integrations/example/",
    "tests/resilience/chaos/test_chaos.py::test_the_faults_of_the_mutants_alone",
    "tests/tooling/contributor/test_five_steps.py",
    "tests/tooling/contributor/test_readme.py::test_the_benchmark_runs",
    "tests/tooling/contributor/",
    "tests/resilience/",
    "tests/platforms/",
    "tests/tooling/test_serve.py",
)
# In these folders but not fast: each starts processes, copies databases or waits.
SLOW_FILES = {
    f"{name}.py"
    for name in (
        "contract/test_concurrency", "contract/test_mcp_hostile", "contract/test_mcp_sdk",
        "contract/test_raw_bytes",
        "unit/test_aws_secrets", "unit/test_changes", "unit/test_changes_after_a_crash",
        "unit/test_deployment_faults",
        "unit/test_earlier_records", "unit/test_expired_keys", "unit/test_health",
        "unit/test_http_transport", "unit/test_mcp_generated", "unit/test_middleware",
        "unit/test_ownership", "unit/test_retention", "unit/test_row_level_security",
        "unit/test_settings_change_behaviour", "unit/test_trash_races",
    )
}  # fmt: skip
CLUSTER = pytest.StashKey[Cluster]()
SECRET = "contract-suite-secret-0123456789abcdef"

# A background job of a shell ignores SIGINT, and so would every program that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

for name in (*Settings.model_fields, *PLATFORM_VARIABLES):
    os.environ.pop(name, None)
os.environ.pop("SSL_CERT_FILE", None)
# As in the Makefile: the Node.js of package.json comes before one installed on the machine.
NODE_BIN = HERE.parent / "node_modules" / ".bin"
os.environ["PATH"] = f"{NODE_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
# A make that a test runs must not behave as a child of the make that runs the tests.
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
    os.environ.pop(name, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--target", default="local", help="a module of tests/support/targets")
    parser.addoption("--transport", default="postgres", choices=("postgres", "http"))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    # Once per run, not per worker; in the main thread, because PostgreSQL stops with its thread.
    config = session.config
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    stack = ExitStack()
    config.add_cleanup(stack.close)
    databases.remove_leftovers()
    temporary = tempfile.TemporaryDirectory(
        prefix=databases.FOLDER_PREFIX, dir=databases.parent_folder()
    )
    folder = Path(stack.enter_context(temporary))
    try:
        config.stash[CLUSTER] = stack.enter_context(running_cluster(folder / "postgres"))
    except MigrationError as error:  # of a revision that is being written
        pytest.exit(str(error), returncode=1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in _marks(item.path):
            item.add_marker(mark)
    items.sort(key=lambda item: [not item.nodeid.startswith(each) for each in LONG_TESTS])


@cache
def _marks(file: Path) -> list[pytest.MarkDecorator]:
    path = file.relative_to(HERE)
    folder = path.parent.as_posix()
    marks = []
    if folder.startswith(FOLDERS_OF_VERIFY) or path.name in FILES_OF_VERIFY:
        marks.append(pytest.mark.verify)
    if folder.startswith(FAST_FOLDERS) and path.as_posix() not in SLOW_FILES:
        marks.append(pytest.mark.fast)
    return marks


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which may be disabled
def pytest_configure_node(node: Any) -> None:
    """Give each worker the port and password of PostgreSQL."""
    cluster = node.config.stash[CLUSTER]
    node.workerinput["cluster"] = (cluster.port, cluster.password)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The PostgreSQL of this run."""
    given = getattr(request.config, "workerinput", {}).get("cluster")
    return Cluster(*given) if given else request.config.stash[CLUSTER]


@pytest.fixture(scope="session")
def database(cluster: Cluster) -> Iterator[Database]:
    """The migrated database of this worker. Each test uses its own users in it."""
    with cluster.clone() as clone:
        yield clone


@pytest.fixture
def fresh_database(cluster: Cluster) -> Iterator[Database]:
    """A migrated database for one test."""
    with cluster.clone() as clone:
        yield clone


@pytest.fixture(scope="session")
def environment(
    database: Database,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """The environment variables of an API under test."""
    variables = {
        "DATABASE_URL": database.app_url,
        "BETTER_AUTH_SECRET": SECRET,
        "CORS_ORIGINS": "http://localhost:3000",
    }
    with ExitStack() as stack:
        if request.config.option.transport == "http":
            certificate = write_certificate(tmp_path_factory.mktemp("endpoint"))
            endpoint = stack.enter_context(neon_endpoint.running(certificate))
            variables |= {
                "DATABASE_TRANSPORT": "http",
                "DATABASE_HTTP_URL": endpoint.url,
                "SSL_CERT_FILE": str(certificate.ca),
            }
        yield variables


@pytest.fixture(scope="session")
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the API of --target, or CONTRACT_BASE_URL for one that runs already."""
    if given := os.environ.get("CONTRACT_BASE_URL"):
        yield given
        return
    target = importlib.import_module(f"tests.support.targets.{request.config.option.target}")
    with target.serve(request.getfixturevalue("environment")) as url:
        yield url


@pytest.fixture(autouse=True)
def _settings_of_each_test() -> Iterator[None]:
    forget_settings()
    yield
    forget_settings()


type StartApi = Callable[..., TestClient]


@pytest.fixture
def start_api(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Generator[StartApi]:
    """Start the complete API inside the test: `start_api(DOCS_ENABLED="0")`.

    A variable that is None is removed. The database is that of the worker, whose tests use
    different users.
    """
    with ExitStack() as stack:

        def start(**variables: str | None) -> TestClient:
            for name, value in (environment | variables).items():
                if value is None:
                    monkeypatch.delenv(name, raising=False)
                else:
                    monkeypatch.setenv(name, value)
            forget_settings()
            for group in GROUPS:
                group.app.middleware_stack = None
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start
        close_pools()


type RequestLines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def request_lines(capsys: pytest.CaptureFixture[str]) -> RequestLines:
    """Return the log lines of the requests since the last call."""

    def read() -> list[dict[str, Any]]:
        printed = capsys.readouterr().out.splitlines()
        lines = [json.loads(line) for line in printed if line.startswith("{")]
        return [line for line in lines if line["message"] == "request"]

    return read


def bearer(user_id: str, **claims: object) -> dict[str, str]:
    """The headers of a request by this user."""
    payload = {"sub": user_id, "exp": int(time.time()) + 300, **claims}
    return {"Authorization": f"Bearer {jwt.encode(payload, SECRET)}"}
