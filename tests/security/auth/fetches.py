"""Checks that fetch a key set from a server.

Each check takes the module under test, so that a mutant can be checked too, and a temporary
directory.
"""

import asyncio
import ssl
import time
from pathlib import Path
from types import FunctionType, ModuleType

from lib.errors import KeysUnavailable
from lib.settings import Settings, read_settings
from tests.security.auth.key_server import (
    KeyServer,
    http_response,
    redirect,
    sends,
    tls_server,
    waits,
    write_certificate,
)
from tests.security.auth.keys import jwk, key_set, private_key, signing
from tests.security.auth.tokens import KID, Forge

SET = key_set(jwk(private_key("EdDSA", "ours"), KID)).encode()
SLOW = 2.5  # seconds, longer than a request of a server waits


def settings_of(url: str, **more: str) -> Settings:
    return read_settings({"JWT_ALGORITHM": "EdDSA", "JWKS_URL": url, **more})


async def verdict(jwks: ModuleType, settings: Settings) -> str:
    """`verified`, or the class of the error."""
    forge = Forge("EdDSA", signing("EdDSA", "ours"), signing("EdDSA", "foreign"))
    try:
        await jwks.verified_by_key_set(forge.token(), settings, lambda *_: {})
    except KeysUnavailable as error:
        return type(error).__name__
    return "verified"


def only_status_200_brings_a_key_set(jwks: ModuleType, _: Path) -> None:
    statuses = (b"201 Created", b"206 Partial Content", b"404 Not Found", b"500 Oops")
    behaviours = {
        f"/{status.decode()[:3]}": sends(http_response(SET, b"HTTP/1.1 %b\r\n" % status))
        for status in statuses
    }
    behaviours |= {"/302": sends(redirect(b"302", "/200")), "/200": sends(http_response(SET))}
    with KeyServer(behaviours) as server:
        for path in behaviours:
            expected = "verified" if path == "/200" else "KeysUnavailable"
            settings = settings_of(server.url(path))
            assert asyncio.run(verdict(jwks, settings)) == expected, path
        assert server.requests["/200"] == 1, "redirects are not followed"


def a_key_set_has_a_maximum_size(jwks: ModuleType, _: Path) -> None:
    fits = SET[:-1] + b" " * (150_000 - len(SET)) + b"}"
    behaviours = {
        "/fits": sends(http_response(fits)),
        "/one-more": sends(http_response(fits[:-1] + b" }")),
    }
    with KeyServer(behaviours) as server:
        assert asyncio.run(verdict(jwks, settings_of(server.url("/fits")))) == "verified"
        settings = settings_of(server.url("/one-more"))
        assert asyncio.run(verdict(jwks, settings)) == "KeysUnavailable"


def the_configured_bundle_verifies_the_key_server(jwks: ModuleType, folder: Path) -> None:
    authority = write_certificate(folder / "both.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with tls_server(context, http_response(SET)) as port:
        url = f"https://127.0.0.1:{port}/"
        assert asyncio.run(verdict(jwks, settings_of(url))) == "KeysUnavailable"
        settings = settings_of(url, SSL_CERT_FILE=str(authority))
        assert asyncio.run(verdict(jwks, settings)) == "verified"


def a_slow_key_server_is_waited_for_behind_requests(jwks: ModuleType, _: Path) -> None:
    """On a server a request gives up early, and a later one uses the result of the fetch."""
    with KeyServer({"/jwks": waits(SLOW, http_response(SET))}) as server:
        settings = settings_of(server.url("/jwks"))

        async def scenario() -> None:
            began = time.monotonic()
            assert await verdict(jwks, settings) == "KeysUnavailable"
            assert time.monotonic() - began < SLOW
            while await verdict(jwks, settings) != "verified":
                assert time.monotonic() - began < 2 * SLOW, "the fetch ended with its request"
                await asyncio.sleep(0.1)

        asyncio.run(scenario())
        assert server.requests["/jwks"] == 1


def a_slow_key_server_is_waited_for_on_lambda(jwks: ModuleType, folder: Path) -> None:
    """Between requests a sandbox is frozen, so the first request waits for the fetch."""
    authority = write_certificate(folder / "both.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    with tls_server(context, http_response(SET), delay=SLOW) as port:
        settings = settings_of(
            f"https://127.0.0.1:{port}/",
            SSL_CERT_FILE=str(authority),
            AWS_LAMBDA_RUNTIME_API="127.0.0.1:9001",
        )
        assert asyncio.run(verdict(jwks, settings)) == "verified"


FETCHES: tuple[FunctionType, ...] = (
    only_status_200_brings_a_key_set,
    a_key_set_has_a_maximum_size,
    the_configured_bundle_verifies_the_key_server,
    a_slow_key_server_is_waited_for_behind_requests,
    a_slow_key_server_is_waited_for_on_lambda,
)
