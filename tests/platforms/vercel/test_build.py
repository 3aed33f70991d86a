"""The output of Vercel's builder, and the checks that a deployment depends on."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from dev.app import GROUPS
from dev.deploy import vercel_build
from tests.platforms.vercel.conftest import MakeTree

FUNCTIONS = sorted(group.__name__.replace(".", "/") for group in GROUPS)
UNCHECKED_HASH = 1  # The flags of a .pyc that Python does not compare with its source.


def test_the_build_can_be_deployed(built: vercel_build.Built) -> None:
    assert vercel_build.problems(built) == []


def test_each_endpoint_group_is_one_function_on_python_3_13(built: vercel_build.Built) -> None:
    assert [(one.name, one.runtime) for one in built.functions] == [
        (name, "python3.13") for name in FUNCTIONS
    ]


def test_a_function_carries_its_own_code_and_nothing_else_of_the_repository(
    built: vercel_build.Built,
) -> None:
    for name in FUNCTIONS:
        folder = built.function_folder(name)
        top = {path.name for path in folder.iterdir()}
        assert top == {"api", "lib", "_vendor", "vc__handler__python.py"}
        hidden = [path for path in folder.rglob(".env*") if "_vendor" not in path.parts]
        assert hidden == []


def test_only_the_public_folder_is_published(built: vercel_build.Built) -> None:
    static = built.output / "static"
    published = {str(path.relative_to(static)) for path in static.rglob("*") if path.is_file()}
    public = vercel_build.ROOT / "public"
    assert published == {str(path.relative_to(public)) for path in public.rglob("*")}
    assert "robots.txt" in published


def test_no_built_file_contains_a_secret_of_the_working_tree(
    built: vercel_build.Built,
) -> None:
    for place in (built.output, built.folder / "functions"):
        small = [one for one in place.rglob("*") if one.is_file() and one.stat().st_size < 200]
        assert small
        assert [one for one in small if b"must-not-be-deployed" in one.read_bytes()] == []


def test_the_functions_have_the_packages_that_lambda_gets_and_one_for_the_server(
    built: vercel_build.Built,
) -> None:
    vendor = built.function_folder("api/tasks") / "_vendor"
    names = {canonicalize_name(one.name) for one in distributions(path=[str(vendor)])}
    of_lambda = set(vercel_build.pinned_packages(vercel_build.ROOT / "requirements.txt"))
    added = names - of_lambda - vercel_build.BUILDER_PACKAGES
    assert (of_lambda - names, added) == (set(), {"httptools"})
    assert names.isdisjoint({"pytest", "ruff", "alembic", "uvicorn", "moto", "boto3"})


def test_the_bytecode_is_never_compared_with_its_source(
    built: vercel_build.Built,
) -> None:
    folder = built.function_folder("api/tasks")
    for name in ("api/__pycache__/tasks.cpython-313.pyc", "_vendor/fastapi/__pycache__/*.pyc"):
        compiled = sorted(folder.glob(name))
        assert compiled
        assert {int.from_bytes(one.read_bytes()[4:8], "little") for one in compiled} == {
            UNCHECKED_HASH
        }


def test_caching_and_cors_are_left_to_the_application(vercel_json: dict) -> None:
    names = {header["key"].lower() for rule in vercel_json["headers"] for header in rule["headers"]}
    assert "x-content-type-options" in names
    assert "cache-control" not in names
    assert not {name for name in names if name.startswith("access-control-")}


def test_an_upload_takes_only_what_a_build_needs(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree(tmp_path)
    for name in vercel_build.DECOYS:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("secret")
    # The CLI applies the rules of .gitignore to .vercelignore, whether git tracks a file or not.
    subprocess.run(["git", "rm", "-r", "--quiet", "--cached", "."], cwd=tree, check=True)
    listing = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-from=.vercelignore"],
        cwd=tree,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    sources = {str(path.relative_to(tree)) for path in (tree / "api").glob("*.py")}
    assert set(listing) == sources | {
        "lib/settings.py",
        "public/robots.txt",
        "vercel.json",
        "pyproject.toml",
        ".python-version",
    }


def _without_public_folder(tree: Path) -> None:
    (tree / "public" / "robots.txt").unlink()


def _with_named_groups(tree: Path) -> None:
    _change_configuration(tree, lambda text: text.replace("/api/([^/]+)/tasks", "/api/:user/tasks"))


def _with_everything_bundled(tree: Path) -> None:
    config = json.loads((tree / "vercel.json").read_text())
    for function in config["functions"].values():
        del function["excludeFiles"]
    (tree / "vercel.json").write_text(json.dumps(config))


def _with_other_packages(tree: Path) -> None:
    (tree / "requirements-vercel.txt").write_text("fastapi==0.165.0\n")


def _change_configuration(tree: Path, change: Callable[[str], str]) -> None:
    path = tree / "vercel.json"
    path.write_text(change(path.read_text()))


def test_each_fault_of_a_build_is_reported(make_tree: MakeTree, tmp_path: Path) -> None:
    """One build has all of them, because a build takes long."""
    complaints = {
        _without_public_folder: r"The static files are .*lib/settings\.py",
        _with_named_groups: r"use unnamed groups only",
        _with_everything_bundled: r"api/tasks has extra files .*\.env\.production\.local",
        _with_other_packages: r"api/tasks differs from requirements-vercel\.txt",
    }
    tree = make_tree(tmp_path)
    for spoil in complaints:
        spoil(tree)
    found = vercel_build.problems(vercel_build.build(root=tree, cache=tmp_path / "cache"), tree)
    for complaint in complaints.values():
        assert any(re.search(complaint, sentence) for sentence in found), found


def test_another_python_and_a_size_above_the_limit_are_refused(
    built: vercel_build.Built,
) -> None:
    first, *rest = built.functions
    spoiled = replace(first, runtime="python3.12", megabytes=vercel_build.SIZE_LIMIT_MB + 0.1)
    found = vercel_build.problems(replace(built, functions=[spoiled, *rest]))
    assert len(found) == 2
    assert "python3.12" in found[0]
    assert "MB" in found[1]
