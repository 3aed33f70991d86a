#!/bin/sh
# Makes .venv with every development package, hashes checked. Safe to run again; `make` calls it when requirements-dev.txt changes.
set -eu
cd "$(dirname "$0")/.."

python=$(command -v python3.13 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
    echo "Python 3.13 is missing: install it (with pyenv: pyenv install 3.13) and run make again." >&2
    exit 1
fi

log=
give_up() {
    [ -z "$log" ] || cat "$log" >&2
    echo "$1" >&2
    exit 1
}
free_megabytes() { df -Pk . | awk 'NR == 2 {print int($4 / 1024)}'; }
out_of_space="The disk is full: free 1 GB and run make again."
log=$(mktemp 2>/dev/null) || give_up "$out_of_space"
trap 'rm -f "$log"' EXIT
step() {
    echo "$1" >&2
    shift
    "$@" >"$log" 2>&1 && return
    # Half of the tools do not pass on why they could not write.
    if grep -qiE 'no space left|disk quota' "$log" || [ "$(free_megabytes)" -lt 50 ]; then
        give_up "$out_of_space"
    elif grep -qiE 'retrying|connection|dns error|error sending request|timed out|proxyerror' "$log"; then
        give_up "The package index cannot be reached: check the network, the proxy (HTTPS_PROXY) or the mirror (PIP_INDEX_URL), and run make again."
    fi
    give_up "Installing failed, for the reason above: mend it, or delete .venv, and run make again."
}

uv=$(sed -n 's/^uv==\([^ ]*\).*/uv==\1/p' requirements-dev.txt)
# A virtual environment of another interpreter, or half of one, cannot be mended, only replaced.
.venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null || rm -rf .venv
[ -x .venv/bin/python ] || step "Making .venv with $("$python" --version) ..." "$python" -m venv .venv
.venv/bin/uv --version 2>/dev/null | grep -qF "$(echo "$uv" | sed 's/==/ /')" || step "Installing $uv ..." .venv/bin/python -m pip install --disable-pip-version-check "$uv"
# uv reads nothing of pip's settings, and who has a mirror has named it there.
mirror=${PIP_INDEX_URL:-$(.venv/bin/python -m pip config list 2>/dev/null | sed -n "s/^[^=:]*[.]index-url='\(.*\)'$/\1/p" | sed -n '$p')}
[ -z "$mirror" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$mirror}"
step "Installing the development packages (half a minute the first time) ..." .venv/bin/uv pip sync --python .venv/bin/python --require-hashes requirements-dev.txt
touch .venv/ready
