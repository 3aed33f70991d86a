#!/bin/sh
# Runs .venv/bin/uv with pip's settings for the mirror, certificates and proxy. uv does not read them,
# and many companies set only those.
set -eu
venv=$(dirname "$0")/../.venv

configuration=$("$venv/bin/python" -m pip config list 2>/dev/null) || configuration=

# pip_setting NAME VARIABLE: prints the value of the variable, or else of pip's configuration files.
pip_setting() {
    eval "value=\${$2:-}"
    [ -n "$value" ] || value=$(printf '%s\n' "$configuration" | sed -n "s/^\(global\|install\)[.]$1='\(.*\)'\$/\2/p" | sed -n '$p')
    echo "$value"
}
mirror=$(pip_setting index-url PIP_INDEX_URL)
[ -z "$mirror" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$mirror}"
certificates=$(pip_setting cert PIP_CERT)
: "${certificates:=${REQUESTS_CA_BUNDLE:-${CURL_CA_BUNDLE:-}}}"
# Replaces SSL_CERT_FILE if it is set, because conda sets it to its own certificates.
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
# pip also trusts the certificates of the system, so try again with them.
if [ "$status" -ne 0 ] && grep -q 'peer certificate' "$errors"; then
    status=0
    UV_SYSTEM_CERTS=1 "$venv/bin/uv" "$@" 2>"$errors" || status=$?
fi
cat "$errors" >&2
exit "$status"
