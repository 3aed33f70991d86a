"""Generates the typed client as docs/client.md describes, compiles it and uses it with the API."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest

from dev.postgres import free_port
from tests.conftest import SECRET
from tests.integrations.better_auth.servers import EXAMPLE, ROOT, install_example, install_packages
from tests.integrations.better_auth.servers import HERE as BETTER_AUTH
from tests.integrations.browser.chromium import find_chromium
from tests.support.targets.local import serve

HERE = Path(__file__).parent
DOCUMENT = (ROOT / "docs" / "client.md").read_text()
COMMAND = re.compile(r"^npx .* openapi-ts .*$", re.MULTILINE)
USER = "auth0|zoë 🙂"


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, **variables},
    )  # fmt: skip


def copy_files(lib: Path) -> None:
    """Copy the files of the example that the clients import. Two of them are replaced."""
    for file in ("api-error.ts", "openapi.ts", "retry.ts", "tasks.ts", "token.ts"):
        shutil.copy(EXAMPLE / "lib" / file, lib)
    for file in ("api-url.ts", "fetch-token.ts"):
        shutil.copy(HERE / file, lib)


@pytest.fixture(scope="module")
def frontend(base_url: str) -> Iterator[Path]:
    """Create a frontend folder with the client that the documented command generates.

    It is inside this project, which has TypeScript 5: npx must not use it for the generator.
    """
    install_packages()
    install_example()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="frontend-", dir=cache) as name:
        folder = Path(name)
        shutil.copytree(HERE / "lib", folder / "lib")
        copy_files(folder / "lib")
        for file in ("main.ts", "page.ts", "tsconfig.json"):
            shutil.copy(HERE / file, folder)
        [documented] = COMMAND.findall(DOCUMENT)
        command = ["sh", "-c", documented.replace("https://api.example.com", base_url)]
        # npx would find the packages of an earlier run in its cache.
        variables = {"npm_config_cache": str(folder / "npm"), "npm_config_yes": "true"}
        generated = run(command, folder, **variables)
        assert generated.returncode == 0, generated.stdout + generated.stderr
        yield folder


def test_command_writes_one_function_for_each_operation(frontend: Path) -> None:
    sdk = (frontend / "lib" / "client" / "sdk.gen.ts").read_text()
    assert set(re.findall(r"^export const (\w+)", sdk, re.MULTILINE)) == {
        *("listTasks", "createTask", "getTask", "updateTask", "deleteTask", "completeTask"),
        *("listMyTasks", "createMyTask", "getMyTask", "updateMyTask", "deleteMyTask"),
        *("patchTask", "patchMyTask", "completeMyTask", "countTasks", "countMyTasks"),
        *("restoreTask", "restoreMyTask", "listTaskChanges", "listMyTaskChanges"),
        *("getHealth", "getReadiness", "getSmoke", "getRetention", "getOpenapi", "getDocs"),
    }
    assert "bigint" not in (frontend / "lib" / "client" / "types.gen.ts").read_text()


@pytest.mark.parametrize(
    "packages", [ROOT, BETTER_AUTH], ids=["the generator's TypeScript", "the newest TypeScript"]
)
def test_generated_client_and_its_use_are_sound(frontend: Path, packages: Path) -> None:
    compiler = str(packages / "node_modules" / "typescript" / "bin" / "tsc")
    checked = run(["node", compiler, "--strict", "--project", "."], frontend)
    assert checked.returncode == 0, checked.stdout


def bundle(frontend: Path, entry: str, *options: str) -> None:
    esbuild = str(BETTER_AUTH / "node_modules" / ".bin" / "esbuild")
    bundled = run([esbuild, entry, "--bundle", "--format=esm", *options], frontend)
    assert bundled.returncode == 0, bundled.stderr


def test_generated_client_works_in_a_browser_across_origins(
    frontend: Path, environment: dict[str, str]
) -> None:
    now, port = int(time.time()), free_port()
    token = jwt.encode({"sub": f"{USER} in a browser", "iat": now, "exp": now + 3600}, SECRET)
    with serve({**environment, "CORS_ORIGINS": f"http://127.0.0.1:{port}"}) as api_url:
        variables = {"TASKS_API_URL": api_url, "TOKENS": token}
        defined = [f"--define:process.env.{k}={json.dumps(v)}" for k, v in variables.items()]
        bundle(frontend, "page.ts", "--outfile=page.js", *defined)
        driven = run(
            ["node", str(HERE / "browser.mjs")],
            frontend,
            PORT=str(port),
            API_URL=api_url,
            CHROMIUM=find_chromium(),
        )
    assert driven.returncode == 0, driven.stdout + driven.stderr
    assert driven.stdout.endswith("done\n")


def test_generated_client_works_against_the_api(frontend: Path, base_url: str) -> None:
    bundle(frontend, "main.ts", "--platform=node", "--outfile=main.mjs")
    now = int(time.time())
    good = {"sub": USER, "iat": now, "exp": now + 3600}
    tokens = [
        jwt.encode(good | {"iat": now - 3600, "exp": now - 2700}, SECRET),
        jwt.encode(good, SECRET),
        *[jwt.encode(good, SECRET[::-1])] * 2,
    ]
    # Nothing listens on this port, so the database is unavailable.
    unavailable = {
        "DATABASE_URL": f"postgresql://u:p@127.0.0.1:{free_port()}/d",
        "BETTER_AUTH_SECRET": SECRET,
    }
    with serve(unavailable) as unavailable_url:
        variables = {
            "TASKS_API_URL": base_url,
            "API_URL": base_url,
            "UNAVAILABLE_URL": unavailable_url,
        }
        program = run(
            ["node", "main.mjs"], frontend, **variables, USER_ID=USER, TOKENS=" ".join(tokens)
        )
    assert program.returncode == 0, program.stdout + program.stderr
    assert program.stdout.endswith("done\n")
