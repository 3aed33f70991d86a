"""Fixtures that build this project and a small one, and serve what was built."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.deploy import vercel_build
from tests.support.targets import vercel_runtime

# Responds with the request as the function received it, and with the function's name.
ECHO = """
import json

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    received = {
        "function": __name__,
        "method": scope["method"],
        "path": scope["path"],
        "raw_path": scope["raw_path"].decode(),
        "root_path": scope["root_path"],
        "query": scope["query_string"].decode(),
        "headers": [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": body.hex(),
    }
    text = json.dumps(received).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})
"""


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return when the condition holds; fail the test if it does not within the time."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition did not become true in time"
        time.sleep(0.02)


type MakeTree = Callable[[Path], Path]


@pytest.fixture(scope="session")
def built() -> vercel_build.Built:
    """The build of this tree."""
    return vercel_build.build()


@pytest.fixture(scope="session")
def make_tree() -> MakeTree:
    """Creates a project with this vercel.json and functions that echo: it builds in seconds."""

    def make(folder: Path) -> Path:
        for name in ("vercel.json", ".vercelignore", ".python-version", ".gitignore"):
            shutil.copyfile(vercel_build.ROOT / name, folder / name)
        for name in ("api", "lib", "public", "tests"):
            (folder / name).mkdir()
        for path in (vercel_build.ROOT / "api").glob("*.py"):
            (folder / "api" / path.name).write_text("" if path.stem.startswith("_") else ECHO)
        (folder / "lib" / "settings.py").write_text("")
        (folder / "tests" / "test_nothing.py").write_text("")
        (folder / "public" / "robots.txt").write_text("User-agent: *\n")
        (folder / "requirements-vercel.txt").write_text("")
        (folder / "pyproject.toml").write_text(
            '[project]\nname = "echo"\nversion = "1"\nrequires-python = ">=3.13,<3.14"\n'
            "dependencies = []\n[tool.uv]\npackage = false\n"
        )
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
        return folder

    return make


@pytest.fixture(scope="session")
def echo(
    make_tree: MakeTree, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[vercel_runtime.Deployment]:
    """A deployment of the echoing project, which shows how this vercel.json routes a request."""
    folder = tmp_path_factory.mktemp("echo")
    tree = folder / "tree"
    tree.mkdir()
    made = vercel_build.build(root=make_tree(tree), cache=folder / "cache")
    with vercel_runtime.deploy({"ONLY": "this"}, made) as deployment:
        yield deployment


@pytest.fixture
def vercel_json() -> dict:
    """The configuration, parsed."""
    return json.loads((vercel_build.ROOT / "vercel.json").read_text())
