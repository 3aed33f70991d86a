"""Runs `vercel build` in a copy of the tracked files and checks the result, without an account.

Vercel's builder resolves the packages of pyproject.toml itself. This module compares their versions
with the pins. Nothing compares their hashes.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dev.deploy.sources import SourcesError, deployable_files, tracked_files

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "vercel"
CLI = ROOT / "node_modules" / ".bin" / "vercel"

SIZE_LIMIT_MB = 100  # Vercel refuses 225 MB; the packages and their bytecode take some 77.
BUILD_TIMEOUT_SECONDS = 900
OWN_FOLDERS = ("api", "lib")
PACKAGES_FOLDER = "_vendor"
TRAMPOLINE = "vc__handler__python.py"
# The builder adds these to the packages of requirements-vercel.txt.
BUILDER_PACKAGES = frozenset({"pip", "vercel-runtime"})
# Files that must never be published. The copy that is built contains them, so that every build
# shows whether they are left out.
DECOYS = (
    ".env",
    ".env.production.local",
    "api/.env",
    "lib/.env.local",
    ".local/postgres/data.py",
    ".serverless/state.json",
    "build/artifact.py",
    "id_rsa",
)


class BuildError(Exception):
    """The build did not succeed. The text says what to do."""


@dataclass(frozen=True)
class BuiltFunction:
    """A function as it is deployed: its route name ("api/tasks"), limits and contents."""

    name: str
    runtime: str
    max_duration: int
    files: int
    bytecode_files: int
    megabytes: float


@dataclass(frozen=True)
class Built:
    """A finished build: `output` for Vercel, and a folder for each function as it is deployed."""

    folder: Path
    seconds: float
    functions: list[BuiltFunction]

    @property
    def output(self) -> Path:
        return self.folder / "output"

    def function_folder(self, name: str) -> Path:
        return self.folder / "functions" / name


def build(*, fresh: bool = False, root: Path = ROOT, cache: Path = CACHE) -> Built:
    """Return the build of the current sources. Build them if there is none, or if `fresh`.

    Raises BuildError, or SourcesError if git does not track a file that would be deployed.
    """
    deployable_files(root, *OWN_FOLDERS, "public")
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / "lock"):
        folder = cache / _sources_digest(root)
        if not fresh and (folder / "built.json").exists():
            return _load(folder)
        started = time.monotonic()
        project = cache / "project"
        _copy_sources(root, project)
        _run_vercel_build(project, cache)
        _keep_what_is_deployed(project, folder)
        functions = [_describe(folder, name) for name in function_names(folder / "output")]
        built = Built(folder, round(time.monotonic() - started, 1), functions)
        summary = {"seconds": built.seconds, "functions": [asdict(one) for one in functions]}
        (folder / "built.json").write_text(json.dumps(summary))
        _remove_old_builds(cache, keep=folder)
        return built


def problems(built: Built, root: Path = ROOT) -> list[str]:
    """Return one sentence for each reason not to deploy the build."""
    found = []
    expected = sorted(
        f"api/{path.stem}" for path in (root / "api").glob("*.py") if not path.stem.startswith("_")
    )
    names = [function.name for function in built.functions]
    if names != expected:
        found.append(f"The functions are {names}, not {expected}.")
    for function in built.functions:
        found += _problems_of_function(built, function, root)
    found += _problems_of_static_files(built, root)
    config = json.loads((built.output / "config.json").read_text())
    found += [
        f"The rewrite to {route['dest']} changes the query or the path: use unnamed groups only."
        for route in config["routes"]
        if route.get("check")
        and route["dest"] not in {f"/{name}" for name in names}
        and not route["src"].endswith(r"(?:\.(?:py))$")
    ]
    return found


def function_names(output: Path) -> list[str]:
    """Return the names ("api/tasks") of the functions in a Build Output folder, sorted."""
    functions = output / "functions"
    return sorted(
        str(config.parent.relative_to(functions)).removesuffix(".func")
        for config in functions.rglob("*.func/.vc-config.json")
    )


def function_config(built: Built, name: str) -> dict:
    """Return the .vc-config.json of one function."""
    path = built.output / "functions" / f"{name}.func" / ".vc-config.json"
    return json.loads(path.read_text())


def _problems_of_function(built: Built, function: BuiltFunction, root: Path) -> Iterator[str]:
    folder = built.function_folder(function.name)
    if function.runtime != "python3.13":
        yield f"{function.name} runs on {function.runtime}, not python3.13: see .python-version."
    if function.megabytes > SIZE_LIMIT_MB:
        yield f"{function.name} is {function.megabytes} MB large, limit {SIZE_LIMIT_MB}."

    carried = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    own = {name for name in carried if not name.startswith(f"{PACKAGES_FOLDER}/")}
    sources = {name for name in tracked_files(root) if name.startswith(("api/", "lib/"))}
    bytecode = {_bytecode_path(name) for name in sources if name.endswith(".py")}
    if missing := sorted(sources - own):
        yield f"{function.name} lacks {missing}."
    if missing := sorted(bytecode - own):
        yield f"{function.name} has no bytecode for {missing}: is VERCEL_PYTHON_COMPILEALL set?"
    if surplus := sorted(own - sources - bytecode - {TRAMPOLINE}):
        yield f"{function.name} has extra files {surplus}: exclude them in vercel.json."

    installed = {
        canonicalize_name(one.name): one.version
        for one in distributions(path=[str(folder / PACKAGES_FOLDER)])
        if canonicalize_name(one.name) not in BUILDER_PACKAGES
    }
    pinned = pinned_packages(root / "requirements-vercel.txt")
    if installed != pinned:
        differing = sorted(set(installed.items()) ^ set(pinned.items()))
        yield f"{function.name} differs from requirements-vercel.txt in {differing}: run make lock."


def _problems_of_static_files(built: Built, root: Path) -> Iterator[str]:
    static = built.output / "static"
    published = {str(path.relative_to(static)) for path in static.rglob("*") if path.is_file()}
    public = {
        name.removeprefix("public/") for name in tracked_files(root) if name.startswith("public/")
    }
    if published != public:
        yield f"The static files are {sorted(published)}, not those of public/: {sorted(public)}."


def pinned_packages(requirements: Path) -> dict[str, str]:
    """Return name -> version of the pins that apply to this platform."""
    text = requirements.read_text().replace("\\\n", " ")
    lines = (re.sub(r"\s+--hash=\S+|\s+#.*$|^#.*$", "", line).strip() for line in text.splitlines())
    wanted = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in wanted
        if one.marker is None or one.marker.evaluate({"python_version": "3.13"})
    }


def _bytecode_path(source: str) -> str:
    path = Path(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc")


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sources_digest(root: Path) -> str:
    digest = hashlib.sha256(os.environ.get("VERCEL_RUNTIME_PYTHON", "").encode())
    deciding = (*(f"{name}/" for name in OWN_FOLDERS), "public/")
    others = {"vercel.json", "pyproject.toml", ".python-version", "package-lock.json"}
    others.add(str(Path(__file__).relative_to(ROOT)))
    for name in tracked_files(root):
        if name.startswith(deciding) or name in others:
            digest.update(f"{name}\0".encode() + (root / name).read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def copy_tracked_files(root: Path, folder: Path) -> None:
    """Copy the files that git tracks, as they are now. Raises SourcesError."""
    for name in tracked_files(root):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)


def _copy_sources(root: Path, project: Path) -> None:
    # The builder would use a uv.lock and packages of an earlier build without a message. So only
    # uv's download cache is kept.
    downloads = project / ".vercel" / "python" / "cache" / "uv"
    kept = project.parent / "uv-downloads"
    if downloads.exists():
        shutil.rmtree(kept, ignore_errors=True)
        downloads.rename(kept)
    shutil.rmtree(project, ignore_errors=True)
    copy_tracked_files(root, project)
    for name in DECOYS:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("SECRET=must-not-be-deployed\n")
    downloads.parent.mkdir(parents=True, exist_ok=True)
    if kept.exists():
        kept.rename(downloads)
    # The builder stops if this file does not exist, and asks for a login if it contains ids.
    (project / ".vercel" / "project.json").write_text('{"settings":{}}')


def _run_vercel_build(project: Path, cache: Path) -> None:
    if not CLI.exists():
        raise BuildError("The Vercel CLI is not installed: run make vercel-build.")
    login = cache / "no-login"
    login.mkdir(exist_ok=True)
    command = [str(CLI), "build", "--yes", "--global-config", str(login)]
    log = cache / "build.log"
    with log.open("w") as stream:
        try:
            code = subprocess.run(
                command,
                cwd=project,
                env=_build_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                timeout=BUILD_TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    if code != 0:
        ended = f"ended with {code}" if code is not None else f"took over {BUILD_TIMEOUT_SECONDS} s"
        raise BuildError(
            f"{log.read_text()}\n"
            f"vercel build {ended}: see the lines above, and check the connection to the package "
            "index."
        )


def _build_environment() -> dict[str, str]:
    # PYTHONPATH and VIRTUAL_ENV would make the builder use the packages of this environment.
    # VERCEL_* of a deployment would change what is built.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        and (not name.startswith(("VERCEL_", "NOW_")) or name == "VERCEL_RUNTIME_PYTHON")
    }
    # uv refuses the interpreter of a virtual environment, so the original one comes first.
    real_python = Path(sys.base_prefix) / "bin"
    search_path = [str(real_python), str(Path(sys.prefix) / "bin"), os.environ["PATH"]]
    return environment | {
        "PATH": os.pathsep.join(search_path),
        "UV_PYTHON_DOWNLOADS": "never",
        "VERCEL_TELEMETRY_DISABLED": "1",
        # A local build ignores build.env of vercel.json, which Vercel reads.
        **json.loads((ROOT / "vercel.json").read_text())["build"]["env"],
    }


def _keep_what_is_deployed(project: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(project / ".vercel" / "output", folder / "output")
    for name in function_names(folder / "output"):
        source = folder / "output" / "functions" / f"{name}.func"
        config = json.loads((source / ".vc-config.json").read_text())
        files = {
            str(path.relative_to(source)): path
            for path in source.rglob("*")
            if path.is_file() and path.name != ".vc-config.json"
        }
        files |= {target: project / origin for target, origin in config["filePathMap"].items()}
        for target, origin in files.items():
            destination = folder / "functions" / name / target
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.hardlink_to(origin)


def _describe(folder: Path, name: str) -> BuiltFunction:
    config = json.loads(
        (folder / "output" / "functions" / f"{name}.func" / ".vc-config.json").read_text()
    )
    files = [path for path in (folder / "functions" / name).rglob("*") if path.is_file()]
    return BuiltFunction(
        name=name,
        runtime=config["runtime"],
        max_duration=config["maxDuration"],
        files=len(files),
        bytecode_files=sum(path.suffix == ".pyc" for path in files),
        megabytes=round(sum(path.stat().st_size for path in files) / 1e6, 1),
    )


def _load(folder: Path) -> Built:
    summary = json.loads((folder / "built.json").read_text())
    return Built(folder, summary["seconds"], [BuiltFunction(**one) for one in summary["functions"]])


def _remove_old_builds(cache: Path, keep: Path) -> None:
    # The previous build is kept, because instances may still run from its folder.
    finished = sorted(cache.glob("*/built.json"), key=lambda path: path.stat().st_mtime)
    for summary in finished[:-2]:
        if summary.parent != keep:
            shutil.rmtree(summary.parent, ignore_errors=True)


def main() -> int:
    """Build, print the functions, and return 1 if the build must not be deployed."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    print("Building with the Vercel CLI (one to three minutes) ...", file=sys.stderr)
    try:
        built = build(fresh=True)
    except (BuildError, SourcesError) as error:
        print(error, file=sys.stderr)
        return 1
    for one in built.functions:
        print(
            f"{one.name:12} {one.runtime}  {one.max_duration} s  {one.megabytes} MB  "
            f"{one.files} files, {one.bytecode_files} of them bytecode"
        )
    found = problems(built)
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    if found:
        print("The build must not be deployed: fix the problems above.", file=sys.stderr)
        return 1
    print(
        f"Built and checked {len(built.functions)} functions in {built.seconds} s, ready to deploy."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
