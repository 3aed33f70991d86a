"""What each function may import until it has answered: named and counted, since seconds lie.

FastAPI always imports `fastapi.openapi`, Pydantic's old version (`pydantic.v1`) and the
OpenTelemetry API: they are counted here, and cannot be forbidden.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import bearer

ROOT = Path(__file__).parents[3]

# Never deployed, or of other deployments, or half a cold start for nothing. Powertools asks for
# `botocore` itself, where it is installed, how old it is.
FORBIDDEN_EVERYWHERE = {
    "alembic", "aws_lambda_powertools.event_handler", "aws_lambda_powertools.utilities.parameters",
    "bench", "boto3", "botocore.session", "cryptography", "dev", "dotenv", "email_validator",
    "httpx", "httpx2", "lib.auth.jwks", "lib.db.models", "lib.db.queries",
    "lib.settings.aws_secrets", "migrations",
    "moto", "requests", "sqlalchemy", "sqlmodel", "tests", "uvicorn", "watchfiles",
}  # fmt: skip
DATABASE = {
    "lib.db.connection",
    "lib.db.pool",
    "lib.db.pipeline",
    "lib.db.compiled",
    "lib.db.tasks",
    "lib.db.transaction",
    "lib.db.waiting",
    "psycopg",
}
TOKENS = {"jwt", "lib.auth.tokens", "lib.web.routing"}


@dataclass(frozen=True)
class Budget:
    """`most` modules besides the standard library's, once it has answered `asked`.

    Raise the number only together with the reason, in the commit that needs it.
    """

    asked: dict[str, int]
    most: int
    forbidden: set[str]


BUDGETS = {
    "docs": Budget({"/api/openapi.json": 200, "/api/docs": 200}, 265, DATABASE | TOKENS),
    "health": Budget({"/api/health": 200}, 265, DATABASE | TOKENS),
    "smoke": Budget({"/api/smoke": 401}, 285, DATABASE),
    "tasks": Budget(
        {"/api/somebody/tasks": 403, "/api/budget/tasks": 200}, 368, {"api.docs", "lib.smoke.run"}
    ),
}

# A process like a deployed one. The packages of development are there, so that importing one is
# noticed; cryptography is not, since HS256 deployments leave it out. No wait for the database ends
# early, or a busy machine would decide what is imported.
PROGRAM = """
import gc, importlib, json, sys

class WithoutCryptography:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(name, name="cryptography")

sys.meta_path.insert(0, WithoutCryptography())
before = set(sys.modules)
function, paths, headers = json.loads(sys.argv[1])
handler = importlib.import_module("api." + function).lambda_handler
if database := sys.modules.get("lib.db.pool"):
    database.BUDGET = database.COLD_BUDGET = 600.0
answered = {}
for path in paths:
    http = {"method": "GET", "path": path, "sourceIp": "192.0.2.1"}
    event = {"version": "2.0", "requestContext": {"http": http}, "headers": headers, "body": ""}
    answered[path] = handler(event, None)["statusCode"]
document = sys.modules["fastapi.openapi.models"].OpenAPI
told = {
    "answered": answered,
    "loaded": sorted(set(sys.modules) - before),
    "document's models are built": document.__pydantic_complete__,
    "garbage is collected": gc.isenabled(),
    "start is frozen": gc.get_freeze_count() > 10_000,
}
print(json.dumps(told), file=sys.stderr)
"""


def test_every_function_has_a_budget() -> None:
    assert {path.stem for path in (ROOT / "api").glob("*.py")} - {"__init__"} == set(BUDGETS)


@pytest.mark.parametrize("function", BUDGETS)
def test_a_function_imports_what_it_needs_and_no_more(
    function: str, environment: dict[str, str]
) -> None:
    budget = BUDGETS[function]
    headers = {name.lower(): value for name, value in bearer("budget").items()}
    done = subprocess.run(
        [sys.executable, "-s", "-c", PROGRAM, json.dumps([function, [*budget.asked], headers])],
        cwd=ROOT,
        env={
            "PATH": os.defpath,
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
            "CRON_SECRET": "import-budget-0123456789",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stderr.splitlines()[-1])

    assert told["answered"] == budget.asked, done.stdout
    forbidden = FORBIDDEN_EVERYWHERE | budget.forbidden
    assert [name for name in told["loaded"] if is_part_of(name, forbidden)] == []
    counted = [name for name in told["loaded"] if not is_of_python(name)]
    assert len(counted) <= budget.most, counted
    # What api/__init__.py saves, and gives back.
    assert not told["document's models are built"]
    assert told["garbage is collected"]
    assert told["start is frozen"]


def is_part_of(module: str, packages: set[str]) -> bool:
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


def is_of_python(module: str) -> bool:
    """The standard library, and what C extensions register on the side."""
    first = module.partition(".")[0]
    return first in sys.stdlib_module_names or first.startswith(
        ("_cython", "cython_runtime", "_sysconfigdata")
    )
