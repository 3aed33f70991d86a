#!/bin/sh
# Runs .venv/bin/uv with pip's settings, which uv does not read: companies configure their mirror,
# certificates and proxy there.
set -eu
venv=$(dirname "$0")/../.venv

# pip_setting NAME VARIABLE: the variable's value, else the one of pip's configuration files.
pip_setting() {
    eval "value=\${$2:-}"
    [ -n "$value" ] || value=$("$venv/bin/python" -m pip config list 2>/dev/null | sed -n "s/^\(global\|install\)[.]$1='\(.*\)'\$/\2/p" | sed -n '$p')
    echo "$value"
}
mirror=$(pip_setting index-url PIP_INDEX_URL)
[ -z "$mirror" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$mirror}"
certificates=$(pip_setting cert PIP_CERT)
: "${certificates:=${REQUESTS_CA_BUNDLE:-${CURL_CA_BUNDLE:-}}}"
# Over an SSL_CERT_FILE that is set: conda sets it to its own certificates.
[ -z "$certificates" ] || export SSL_CERT_FILE="$certificates"
client_certificate=$(pip_setting client-cert PIP_CLIENT_CERT)
[ -z "$client_certificate" ] || export SSL_CLIENT_CERT="${SSL_CLIENT_CERT:-$client_certificate}"
proxy=$(pip_setting proxy PIP_PROXY)
[ -z "$proxy" ] || export HTTPS_PROXY="${HTTPS_PROXY:-$proxy}" HTTP_PROXY="${HTTP_PROXY:-$proxy}"
trusted_hosts=$(pip_setting trusted-host PIP_TRUSTED_HOST)
[ -z "$trusted_hosts" ] || export UV_INSECURE_HOST="${UV_INSECURE_HOST:-$trusted_hosts}"

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
status=0
"$venv/bin/uv" "$@" 2>"$errors" || status=$?
# pip also trusts the system's certificates.
if [ "$status" -ne 0 ] && grep -q 'peer certificate' "$errors"; then
    status=0
    UV_SYSTEM_CERTS=1 "$venv/bin/uv" "$@" 2>"$errors" || status=$?
fi
cat "$errors" >&2
exit "$status"
