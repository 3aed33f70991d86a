#!/bin/sh
# Makes .venv with every development package, hashes checked. Safe to run again; `make` calls it when requirements-dev.txt changes.
set -eu
cd "$(dirname "$0")/.."

python=$(command -v python3.13 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
    echo "Python 3.13 is missing: install it (with pyenv: pyenv install 3.13) and run make again." >&2
    exit 1
fi

uv=$(sed -n 's/^uv==\([^ ]*\).*/uv==\1/p' requirements-dev.txt)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
step() {
    echo "$1" >&2
    shift
    "$@" >"$log" 2>&1 || { cat "$log" >&2; echo "Setting up failed: is the package index reachable and the disk not full? Then run make again." >&2; exit 1; }
}

# A virtual environment of another interpreter cannot be mended, only replaced.
.venv/bin/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null || rm -rf .venv
[ -x .venv/bin/python ] || step "Making .venv with $("$python" --version) ..." "$python" -m venv .venv
.venv/bin/uv --version 2>/dev/null | grep -qF "$(echo "$uv" | sed 's/==/ /')" || step "Installing $uv ..." .venv/bin/python -m pip install --disable-pip-version-check "$uv"
step "Installing the development packages ..." .venv/bin/uv pip sync --python .venv/bin/python --require-hashes --compile-bytecode requirements-dev.txt
touch .venv/ready
