"""Uses the offline client and the export of docs/client.md with the API."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import jwt
import pytest

from dev.postgres import free_port
from tests.conftest import SECRET
from tests.integrations.better_auth.servers import HERE as BETTER_AUTH
from tests.integrations.better_auth.servers import ROOT, install_example, install_packages
from tests.integrations.client.test_generated_client import HERE, bundle, copy_files, run


def token_of(user: str) -> str:
    now = int(time.time())
    return jwt.encode({"sub": user, "iat": now, "exp": now + 3600}, SECRET)


@pytest.fixture(scope="module")
def frontend() -> Iterator[Path]:
    install_packages()
    install_example()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="offline-", dir=cache) as name:
        folder = Path(name)
        (folder / "lib").mkdir()
        copy_files(folder / "lib")
        shutil.copy(HERE / "lib" / "offline.ts", folder / "lib")
        for file in ("offline.ts", "tsconfig.json"):
            shutil.copy(HERE / file, folder)
        yield folder


def test_offline_client_is_sound(frontend: Path) -> None:
    compiler = str(BETTER_AUTH / "node_modules" / "typescript" / "bin" / "tsc")
    checked = run(["node", compiler, "--strict", "--project", "."], frontend)
    assert checked.returncode == 0, checked.stdout


def test_offline_client_ends_equal_to_the_server(frontend: Path, base_url: str) -> None:
    bundle(frontend, "offline.ts", "--platform=node", "--outfile=offline.mjs")
    port = free_port()
    program = run(
        ["node", "offline.mjs"],
        frontend,
        API_URL=base_url,
        PORT=str(port),
        TASKS_API_URL=f"http://127.0.0.1:{port}",
        TOKENS=token_of("somebody who is often offline"),
    )
    assert program.returncode == 0, program.stdout + program.stderr
    assert program.stdout.endswith("done\n")


def test_export_prints_all_tasks_of_the_user(base_url: str) -> None:
    token = token_of("somebody who exports")
    tasks, headers = f"{base_url}/api/tasks", {"Authorization": f"Bearer {token}"}
    created = [
        httpx2.post(tasks, json={"title": f"Task {number}"}, headers=headers).json()
        for number in range(3)
    ]
    httpx2.delete(f"{tasks}/{created[1]['id']}", headers=headers).raise_for_status()
    exported = run(["node", str(ROOT / "docs" / "export.mjs"), base_url, token], ROOT)
    assert exported.returncode == 0, exported.stderr
    assert json.loads(exported.stdout) == [created[0], created[2]]
