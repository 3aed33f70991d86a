"""A checkout has LF line endings on every machine: sh and make do not accept others."""

from pathlib import Path

from tests.tooling.contributor.working_copy import copy_tree


def test_a_clone_with_autocrlf_has_lf_line_endings(tmp_path: Path) -> None:
    copy = copy_tree(tmp_path / "origin", installed=())
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    copy.run("git", "add", "--all")
    copy.run("git", *identity, "commit", "--quiet", "--message", "All files")
    copy.run("git", "-c", "core.autocrlf=true", "clone", "--quiet", ".", "../clone")
    files = [path for path in (tmp_path / "clone").rglob("*") if path.is_file()]
    sources = [path for path in files if ".git" not in path.relative_to(tmp_path / "clone").parts]
    assert len(sources) > 100
    # Like git, which takes a file with a zero byte for a binary one.
    texts = [path for path in sources if b"\0" not in path.read_bytes()]
    assert [path for path in texts if b"\r" in path.read_bytes()] == []
