"""What each function may import until its first answer: named and counted, since seconds lie.

FastAPI always imports its documentation modules (`fastapi.openapi.*`), Pydantic's old version
(`pydantic.v1`) and the OpenTelemetry API: they are counted here, and cannot be forbidden.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Never deployed, or of another function, or half a cold start for nothing.
FORBIDDEN_EVERYWHERE = {
    "alembic", "aws_lambda_powertools.event_handler", "aws_lambda_powertools.utilities.parameters",
    "bench", "boto3", "botocore.session", "cryptography", "dev", "dotenv", "email_validator",
    "httpx", "httpx2", "lib.aws_secrets", "lib.jwks", "lib.statements", "lib.tables", "migrations",
    "moto", "requests", "sqlalchemy", "sqlmodel", "tests", "uvicorn", "watchfiles",
}  # fmt: skip
DATABASE = {"lib.database", "lib.sql", "lib.store", "psycopg"}
TOKENS = {"jwt", "lib.auth", "lib.route"}

# Of each function: what else it must not import, and how many modules it may, without those of the
# standard library. Raise a number only together with the reason, in the commit that needs it.
BUDGETS = {
    "docs": (DATABASE | TOKENS, 262),
    "health": (DATABASE | TOKENS, 262),
    "tasks": (set(), 360),
}

DEPLOYED = {
    "PATH": os.defpath,
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "BETTER_AUTH_SECRET": "import-budget-0123456789abcdefghijklmnop",
}

# A process like a deployed one: the packages of development are there, so that an import of one is
# noticed; cryptography is not, since HS256 deployments leave it out.
PROGRAM = """
import importlib, json, os, sys

class WithoutCryptography:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "cryptography":
            raise ModuleNotFoundError(name, name="cryptography")

sys.meta_path.insert(0, WithoutCryptography())
before = set(sys.modules)
handler = importlib.import_module("api." + sys.argv[1]).lambda_handler
statuses = []
for path, headers in json.loads(sys.argv[2]):
    http = {"method": "GET", "path": path, "sourceIp": "192.0.2.1"}
    event = {"version": "2.0", "requestContext": {"http": http}, "headers": headers, "body": ""}
    statuses.append(handler(event, None)["statusCode"])
loaded = sorted(set(sys.modules) - before)
os.write(2, json.dumps({"statuses": statuses, "loaded": loaded}).encode())
"""


def load(function: str, *requests: tuple[str, dict[str, str]], **variables: str) -> dict:
    """The modules that a fresh process has loaded when it has answered these requests."""
    done = subprocess.run(
        [sys.executable, "-s", "-c", PROGRAM, function, json.dumps(requests)],
        cwd=ROOT,
        env=DEPLOYED | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr)


def unwanted(loaded: list[str], forbidden: set[str]) -> list[str]:
    return [name for name in loaded if any(f"{name}.".startswith(f"{bad}.") for bad in forbidden)]


def counted(loaded: list[str]) -> list[str]:
    """Without the standard library and what C extensions register on the side."""
    others = sys.stdlib_module_names | {"cython_runtime"}
    return [n for n in loaded if n.partition(".")[0] not in others and not n.startswith("_cython")]


def test_every_function_has_a_budget():
    functions = {path.stem for path in (ROOT / "api").glob("*.py")} - {"__init__"}

    assert functions == set(BUDGETS)


@pytest.mark.parametrize("function", BUDGETS)
def test_a_function_imports_only_what_it_needs(function: str):
    forbidden, _ = BUDGETS[function]
    loaded = load(function)["loaded"]

    assert unwanted(loaded, FORBIDDEN_EVERYWHERE | forbidden) == []


@pytest.mark.parametrize("function", BUDGETS)
def test_a_function_stays_within_its_number_of_modules(function: str):
    _, most = BUDGETS[function]
    modules = counted(load(function)["loaded"])

    assert len(modules) <= most, modules


def test_liveness_answers_without_the_database():
    answered = load("health", ("/api/health", {}))

    assert answered["statuses"] == [200]
    assert unwanted(answered["loaded"], DATABASE | FORBIDDEN_EVERYWHERE) == []


def test_the_first_list_imports_nothing_more(environment: dict[str, str]):
    from tests.conftest import bearer

    headers = {name.lower(): value for name, value in bearer("budget").items()}
    answered = load(
        "tasks", ("/api/budget/tasks", {}), ("/api/budget/tasks", headers), **environment
    )
    imported = load("tasks", **environment)["loaded"]

    assert answered["statuses"] == [401, 200]
    assert unwanted(answered["loaded"], FORBIDDEN_EVERYWHERE) == []
    assert len(counted(answered["loaded"])) <= len(counted(imported)) + 5
