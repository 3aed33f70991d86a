"""Each function imports only what its first response needs, by the names and number of modules.

FastAPI always imports `fastapi.openapi` and the OpenTelemetry API: they are counted, and cannot be
forbidden. `pydantic.v1` is counted as well, although api/__init__.py marks it as absent.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import bearer
from tests.support import neon_endpoint

ROOT = Path(__file__).parents[3]

# Packages that are not deployed, or belong to other deployments, or slow down a cold start without
# need. Powertools reads the version of `botocore` where it is installed.
FORBIDDEN_EVERYWHERE = {
    "alembic", "aws_lambda_powertools.event_handler", "aws_lambda_powertools.utilities.parameters",
    "bench", "boto3", "botocore.session", "cryptography", "dev", "dotenv", "email_validator",
    "httpx", "httpx2", "lib.auth.jwks", "lib.db.models", "lib.db.queries",
    "lib.settings.aws_secrets", "migrations",
    "moto", "requests", "sqlalchemy", "sqlmodel", "tests", "uvicorn", "watchfiles",
}  # fmt: skip
DATABASE = {
    "lib.db.addresses",
    "lib.db.pool",
    "lib.db.compiled",
    "lib.db.tasks",
    "lib.db.transaction",
    "lib.db.transport",
    "lib.db.waiting",
}
POSTGRES_TRANSPORT = {"lib.db.connection", "lib.db.pipeline", "lib.db.url", "psycopg"}
HTTP_TRANSPORT = {"lib.db.http_connection", "lib.db.http_protocol"}
DATABASE |= POSTGRES_TRANSPORT | HTTP_TRANSPORT
CRON_SECRET = "import-budget-0123456789"
TOKENS = {"jwt", "lib.auth.tokens", "lib.web.routing"}


@dataclass(frozen=True)
class Budget:
    """`maximum` modules outside the standard library, after requests to the paths of `statuses`.

    Raise the number only together with the reason, in the commit that needs it.
    """

    statuses: dict[str, int]
    maximum: int
    forbidden: set[str]
    body: str = ""  # POSTed if it is not empty


BUDGETS = {
    "docs": Budget({"/api/openapi.json": 200, "/api/docs": 200}, 266, DATABASE | TOKENS),
    "health": Budget({"/api/health": 200}, 266, DATABASE | TOKENS),
    "mcp": Budget(
        {"/api/mcp": 200},
        376,
        {"api.docs", "lib.smoke.run", "mcp"},
        '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_tasks"}}',
    ),
    "retention": Budget(
        {"/api/retention": 200},
        337,
        {"lib.db.compiled", "lib.db.tasks", "lib.smoke", *TOKENS, *HTTP_TRANSPORT},
    ),
    "smoke": Budget({"/api/smoke": 401}, 287, DATABASE),
    "tasks": Budget(
        {"/api/somebody/tasks": 403, "/api/budget/tasks": 200},
        374,
        {"api.docs", "lib.smoke.run"} | HTTP_TRANSPORT,
    ),
}
WITH_HTTP_TRANSPORT = Budget(
    BUDGETS["tasks"].statuses, 326, {"api.docs", "lib.smoke.run"} | POSTGRES_TRANSPORT
)

# A process like a deployed one. Development packages are installed, so that an import of one is
# detected. Two are hidden: cryptography, since HS256 deployments do not have it, and
# python_multipart, which Starlette imports where it is installed. The time budgets are
# long: on a busy machine, a timeout would change what is imported.
PROGRAM = """
import gc, importlib, json, sys

class NotDeployed:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("cryptography", "python_multipart", "multipart"):
            raise ModuleNotFoundError(name, name="cryptography")

sys.meta_path.insert(0, NotDeployed())
before = set(sys.modules)
function, paths, headers, body = json.loads(sys.argv[1])
handler = importlib.import_module("api." + function).lambda_handler
if database := sys.modules.get("lib.db.pool"):
    database.BUDGET = database.COLD_BUDGET = 600.0
statuses = {}
for path in paths:
    http = {"method": "POST" if body else "GET", "path": path, "sourceIp": "192.0.2.1"}
    event = {"version": "2.0", "requestContext": {"http": http}, "headers": headers, "body": body}
    statuses[path] = handler(event, None)["statusCode"]
document = sys.modules["fastapi.openapi.models"]
BaseModel = sys.modules["pydantic"].BaseModel
report = {
    "statuses": statuses,
    "loaded": sorted(set(sys.modules) - before),
    "document's models are built": document.OpenAPI.__pydantic_complete__,
    "models that FastAPI rebuilds are built": document.Schema.__pydantic_complete__,
    "plugins are searched": sys.modules["pydantic.plugin._loader"]._plugins is not None,
    "models are built": "defer_build" not in BaseModel.model_config,
    "models are rebuilt": BaseModel.model_rebuild.__module__ == BaseModel.__module__,
    "garbage is collected": gc.isenabled(),
    "start is frozen": gc.get_freeze_count() > 10_000,
}
print(json.dumps(report), file=sys.stderr)
"""


def test_every_function_has_a_budget() -> None:
    assert {path.stem for path in (ROOT / "api").glob("*.py")} - {"__init__"} == set(BUDGETS)


@pytest.mark.parametrize("function", BUDGETS)
def test_a_function_imports_only_what_it_needs(function: str, environment: dict[str, str]) -> None:
    check(function, BUDGETS[function], environment)


def test_with_the_http_transport_psycopg_is_not_imported(environment: dict[str, str]) -> None:
    with neon_endpoint.running() as endpoint:
        variables = {"DATABASE_TRANSPORT": "http", "DATABASE_HTTP_URL": endpoint.url}
        check("tasks", WITH_HTTP_TRANSPORT, environment | variables)


def check(function: str, budget: Budget, environment: dict[str, str]) -> None:
    headers = {name.lower(): value for name, value in bearer("budget").items()}
    headers["mcp-protocol-version"] = "2025-11-25"
    if function == "retention":
        headers = {"authorization": f"Bearer {CRON_SECRET}"}
    arguments = [function, [*budget.statuses], headers, budget.body]
    completed = subprocess.run(
        [sys.executable, "-s", "-c", PROGRAM, json.dumps(arguments)],
        cwd=ROOT,
        env={
            "PATH": os.defpath,
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
            "CRON_SECRET": CRON_SECRET,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    report = json.loads(completed.stderr.splitlines()[-1])

    assert report["statuses"] == budget.statuses, completed.stdout
    forbidden = FORBIDDEN_EVERYWHERE | budget.forbidden
    assert [name for name in report["loaded"] if is_part_of(name, forbidden)] == []
    counted = [name for name in report["loaded"] if not is_of_python(name)]
    assert len(counted) <= budget.maximum, counted
    # The savings of api/__init__.py, and what it restores.
    assert not report["document's models are built"]
    assert not report["models that FastAPI rebuilds are built"]
    assert not report["plugins are searched"]
    assert report["models are built"]
    assert report["models are rebuilt"]
    assert report["garbage is collected"]
    assert report["start is frozen"]


def is_part_of(module: str, packages: set[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def is_of_python(module: str) -> bool:
    """Whether the module is in the standard library, or registered by a C extension."""
    first = module.partition(".")[0]
    return first in sys.stdlib_module_names or first.startswith(
        ("_cython", "cython_runtime", "_sysconfigdata")
    )
