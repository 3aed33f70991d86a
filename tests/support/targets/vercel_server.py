"""Vercel's server without the edge: the whole API in its Python runtime, for raw requests."""

import shutil
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dev.deploy import vercel_build
from tests.support.targets.vercel_runtime import Deployment


@contextmanager
def serve(environment: Mapping[str, str]) -> Generator[str]:
    """Build if need be, and serve with these variables; gives the base URL."""
    with tempfile.TemporaryDirectory(prefix="vercel-server-") as name:
        folder = Path(name)
        built = copy_function(vercel_build.build(), folder, "api/tasks", "dev/app.py")
        sources = built.function_folder("api/tasks") / "dev"
        sources.mkdir()
        shutil.copy(vercel_build.ROOT / "dev" / "app.py", sources)
        deployment = Deployment(built, environment)
        try:
            yield f"http://127.0.0.1:{deployment.instance('api/tasks').port}"
        finally:
            deployment.stop()


def copy_function(
    built: vercel_build.Built, folder: Path, name: str, entrypoint: str
) -> vercel_build.Built:
    """Copy a function into `folder`, with another entrypoint, and with links to its packages."""
    source, copy = built.function_folder(name), folder / "functions" / name
    copy.mkdir(parents=True)
    (folder / "output").symlink_to(built.output)
    for path in source.iterdir():
        if path.name == "api":
            shutil.copytree(path, copy / "api", ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_dir():
            (copy / path.name).symlink_to(path)
    text = (source / vercel_build.TRAMPOLINE).read_text()
    for old, new in (
        (f"{name}.py", entrypoint),
        (name.replace("/", "."), entrypoint.removesuffix(".py").replace("/", ".")),
    ):
        assert old in text
        text = text.replace(old, new)
    (copy / vercel_build.TRAMPOLINE).write_text(text)
    return replace(built, folder=folder)
