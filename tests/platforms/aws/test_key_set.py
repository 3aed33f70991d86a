"""The function reads the key set of a server that responds slowly."""

import json
import ssl
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from tests.platforms.aws.conftest import ReadEvent
from tests.platforms.aws.sandbox import running_sandbox
from tests.platforms.aws.stack import read_functions
from tests.security.auth.key_server import http_response, tls_server, write_certificate

SLOW = 2.5  # seconds, longer than a request waits on a server


def test_the_first_request_waits_for_a_slow_key_set(
    environment: dict[str, str], read_event: ReadEvent, tmp_path: Path
) -> None:
    key = Ed25519PrivateKey.generate()
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys = json.dumps({"keys": [{**public, "kid": "k", "alg": "EdDSA"}]}).encode()
    claims = {"sub": "ada", "exp": int(time.time()) + 900}
    event = read_event("list_tasks", "ada")
    event["headers"]["authorization"] = f"Bearer {jwt.encode(claims, key, 'EdDSA', {'kid': 'k'})}"

    authority = write_certificate(tmp_path / "both.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with tls_server(context, http_response(keys), delay=SLOW) as port:
        variables = environment | {
            "JWT_ALGORITHM": "EdDSA",
            "JWKS_URL": f"https://127.0.0.1:{port}/jwks",
            "SSL_CERT_FILE": str(authority),
        }
        with running_sandbox(read_functions()["tasks"], variables) as sandbox:
            began = time.monotonic()
            first = sandbox.invoke(event)
            assert time.monotonic() - began > SLOW
    assert isinstance(first, dict)
    assert first["statusCode"] == 200, first
