"""Finds words and phrases that this project does not use, and names the ones that it uses instead.

`python -m dev.vocabulary` prints `file:line: found: replacement` for every tracked text file.
"""

import re
import sys
from pathlib import Path

from dev.deploy.sources import tracked_files

ROOT = Path(__file__).parent.parent
REPLACEMENTS = {
    r"whoever|whichever": "a client, a user, or the one that is meant",
    r"knows? (no|not|nothing|nobody)": "leave it out, or say what the module does",
    r"(is|are|was|were|being|be) told": "receives, gets a message, is logged",
    r"mend(s|ed|ing)?": "fix",
    r"once more": "again",
    r"flights?": "pipeline or round trip",
    r"lend(s|ing)?": "acquire",
    r"strangers?": "another user",
    r"saboteurs?": "fault injector",
    r"(back )?doors?": "transport",
    r"(the|an|its|one|each|every|no|this|that|whose|first) answers?": "response or result",
    r"without a word": "silently",
    r"is away|are away": "is unavailable",
    r"goes on|go on": "continues",
    r"(asks|ask) (nobody|no one)": "sends no request",
    r"there (is|was) no such": "X not found",
    r"patience": "timeout",
    r"says so": "fails with a message",
    r"NoAnswer|RequestBoundary|CallersRoute|CALLERS_ERRORS|NotYourPath|NotJson|UserUnknown"
    r"|take_the_rest|as_read|has_news": "the current name",
}
BANNED = re.compile(
    "|".join(rf"(?P<r{number}>\b(?:{one})\b)" for number, one in enumerate(REPLACEMENTS)), re.I
)
SUFFIXES = {".py", ".md", ".yml", ".toml", ".sh", ".ts", ".mjs", ".js", ".html", ".example", ""}
# The list itself and its test.
SKIPPED = ("dev/vocabulary.py", "tests/tooling/test_vocabulary.py")


def findings(root: Path) -> list[str]:
    """Return one line for each banned word in the tracked text files."""
    advice = list(REPLACEMENTS.values())
    return [
        f"{name}:{number}: {found[0]}: {advice[int((found.lastgroup or 'r0')[1:])]}"
        for name in tracked_files(root)
        if Path(name).suffix in SUFFIXES and name not in SKIPPED
        for number, line in enumerate((root / name).read_text().splitlines(), 1)
        for found in BANNED.finditer(line)
    ]


def main() -> None:
    found = findings(ROOT)
    print(*found, sep="\n", end="\n" if found else "")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
