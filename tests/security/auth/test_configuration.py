"""Invalid configurations are reported at the start or in the log, in one sentence with the remedy.

An HS256 deployment imports nothing for public keys.
"""

import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.health import app as health_app
from api.tasks import app as tasks_app
from lib.settings import SettingsError
from tests.conftest import RequestLines, StartApi
from tests.security.auth.key_server import KeyServer, http_response, sends
from tests.security.auth.keys import SECRET, jwk, key_set, private_jwk, private_key, signing
from tests.security.auth.tokens import ALGORITHMS, KID, USER, Forge, variables

ROOT = Path(__file__).parents[3]


def token(algorithm: str, **header: Any) -> str:
    """A token that is valid now."""
    forge = Forge(algorithm, signing(algorithm, "ours"), signing(algorithm, "foreign"))
    now = int(time.time())
    claims = forge.claims(iat=now, exp=now + 300)
    return forge.token(header=forge.header(**header), claims=claims)


def reason_of(api: Any, sent: str, request_lines: RequestLines) -> str:
    """The reason in the log of a request that gets a 401."""
    response = api.get("/api/nobody/tasks", headers={"Authorization": f"Bearer {sent}"})
    assert response.status_code == 401
    assert response.json() == {"detail": "The token is invalid."}, "the response has no details"
    [line] = request_lines()
    return line["reason"]


@pytest.mark.parametrize("ours", ALGORITHMS)
@pytest.mark.parametrize("theirs", ALGORITHMS)
def test_a_token_of_another_algorithm_is_logged_with_the_remedy(
    ours: str, theirs: str, start_api: StartApi, request_lines: RequestLines
) -> None:
    if ours == theirs:
        return
    api = start_api(**variables(ours, "bare"))
    source = {"HS256": "BETTER_AUTH_SECRET"}.get(theirs, "JWKS_URL=<frontend>/api/auth/jwks")
    assert reason_of(api, token(theirs), request_lines) == (
        f"InvalidAlgorithmError: the token is signed with {theirs}, JWT_ALGORITHM is {ours}: if"
        f" your frontend signs with {theirs}, set JWT_ALGORITHM={theirs} and {source}"
    )


@pytest.mark.parametrize("alg", ["none", "HS512", "A" * 300, "\u001b[2J", None, ["EdDSA"], {}])
def test_an_unknown_algorithm_is_not_quoted(
    alg: object, start_api: StartApi, request_lines: RequestLines
) -> None:
    api = start_api(**variables("HS256", "bare"))
    assert reason_of(api, token("HS256", alg=alg), request_lines) == "InvalidAlgorithmError"


def test_a_token_that_is_too_long_is_logged_with_its_size(
    start_api: StartApi, request_lines: RequestLines
) -> None:
    api = start_api(**variables("HS256", "bare"))
    forge = Forge("HS256", signing("HS256", "ours"), signing("HS256", "foreign"))
    sent = forge.claiming(image="data:image/png;base64," + "A" * 20_000)
    assert reason_of(api, sent, request_lines) == (
        f"the token has {len(sent)} characters, the limit is 8192: put fewer claims into it"
        " (definePayload in Better Auth)"
    )
    assert reason_of(api, "opaque", request_lines) == "the token is not a JSON Web Token"


def entries(*algorithms: str) -> str:
    return key_set(*(jwk(private_key(algorithm, "ours"), KID) for algorithm in algorithms))


NO_KEY = "it has no public signing key for EdDSA: "
OTHER_ISSUER = NO_KEY + "have the issuer sign EdDSA"


def without_kid(*names: str) -> str:
    return key_set(*(jwk(private_key("EdDSA", name), ...) for name in names))


UNUSABLE: dict[str, tuple[Callable[[], str], str]] = {
    "ES256": (lambda: entries("ES256"), NO_KEY + "set JWT_ALGORITHM=ES256"),
    "RS256": (lambda: entries("RS256"), NO_KEY + "set JWT_ALGORITHM=RS256"),
    "Ed25519": (
        lambda: key_set(jwk(private_key("EdDSA", "ours"), KID, alg="Ed25519")),
        OTHER_ISSUER,
    ),
    "private": (lambda: key_set(private_jwk(private_key("EdDSA", "ours"), KID)), OTHER_ISSUER),
    "for encryption": (
        lambda: key_set(jwk(private_key("EdDSA", "ours"), KID, use="enc")),
        OTHER_ISSUER,
    ),
    "without kid": (
        lambda: without_kid("ours", "other"),
        "its keys for EdDSA have no kid: give each key a kid",
    ),
    "malformed": (
        lambda: key_set(jwk(private_key("EdDSA", "ours"), KID, x="AAAA")),
        "every key for EdDSA is malformed: copy the set again",
    ),
}
NOT_SETS: dict[str, tuple[Callable[[], str], str]] = {
    "no keys": (lambda: '{"keys": []}', OTHER_ISSUER),
    "no JSON": (lambda: "<html>", "it is not a JSON Web Key Set"),
    "no set": (lambda: "{}", "it is not a JSON Web Key Set"),
    "too large": (lambda: " " * 150_001, "the response is larger than 150000 bytes"),
}


@pytest.mark.parametrize("name", UNUSABLE | NOT_SETS)
def test_an_unusable_key_set_is_logged_with_the_remedy(
    name: str, start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    make, why = (UNUSABLE | NOT_SETS)[name]
    document = make()
    with KeyServer({"/jwks": sends(http_response(document.encode()))}) as server:
        api = start_api(JWT_ALGORITHM="EdDSA", JWKS_URL=server.url("/jwks"))
        headers = {"Authorization": f"Bearer {token('EdDSA')}"}
        response = api.get("/api/nobody/tasks", headers=headers)
    assert response.status_code == 503
    [line] = [record for record in caplog.records if "key set" in record.getMessage()]
    assert line.getMessage() == "The key set could not be refreshed. No key is known."
    assert vars(line)["why"] == why


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_unusable_static_key_set_stops_the_start(name: str, start_api: StartApi) -> None:
    make, why = UNUSABLE[name]

    def start() -> None:
        start_api(JWT_ALGORITHM="EdDSA", JWKS=make())
        with TestClient(tasks_app):
            pass

    with pytest.raises(SettingsError) as refused:
        start()
    assert str(refused.value) == f"JWKS is unusable, {why}."


def test_a_static_key_set_needs_no_cryptography_for_functions_without_tokens(
    start_api: StartApi,
) -> None:
    """Only the functions that verify tokens check the keys themselves, since that takes a while."""
    make, _ = UNUSABLE["malformed"]
    start_api(JWT_ALGORITHM="EdDSA", JWKS=make())
    with TestClient(health_app) as client:
        assert client.get("/api/health").status_code == 200


@pytest.mark.parametrize("kid", [KID, ...])
def test_a_static_key_set_with_one_key_without_kid_verifies(
    kid: object, start_api: StartApi
) -> None:
    """`kid` is optional (RFC 7517), and with a single key there is nothing to choose."""
    api = start_api(JWT_ALGORITHM="EdDSA", JWKS=without_kid("ours"))
    headers = {"Authorization": f"Bearer {token('EdDSA', kid=kid)}"}
    # 403: the token is valid, but the path names another user.
    assert api.get("/api/nobody/tasks", headers=headers).status_code == 403
    forge = Forge("EdDSA", signing("EdDSA", "foreign"), signing("EdDSA", "ours"))
    now = int(time.time())
    foreign = forge.token(forge.header(kid=kid), forge.claims(iat=now, exp=now + 300))
    headers = {"Authorization": f"Bearer {foreign}"}
    assert api.get("/api/nobody/tasks", headers=headers).status_code == 401


def test_what_a_key_server_sends_is_not_quoted(
    start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    with KeyServer({"/jwks": sends(b"no-http-at-all\r\n")}) as server:
        api = start_api(JWT_ALGORITHM="EdDSA", JWKS_URL=server.url("/jwks"))
        headers = {"Authorization": f"Bearer {token('EdDSA')}"}
        assert api.get("/api/nobody/tasks", headers=headers).status_code == 503
    [line] = [record for record in caplog.records if "key set" in record.getMessage()]
    assert vars(line)["why"] == "the response is not valid HTTP (BadStatusLine)"
    assert "no-http" not in str(vars(line))


# Without the package cryptography, as in the image of an HS256 deployment


@pytest.fixture(scope="module")
def without_cryptography(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with every installed package but cryptography and its dependencies."""
    folder = tmp_path_factory.mktemp("packages")
    left_out = ("cryptography", "cffi", "_cffi", "pycparser")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.lower().startswith(left_out):
            (folder / package.name).symlink_to(package)
    return folder


def run(packages: Path, code: str, **settings: str) -> Any:
    """What `code` prints, as JSON, in a process with these packages only."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= settings | {"PYTHONPATH": f"{ROOT}{os.pathsep}{packages}"}
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


VERIFY = """
import asyncio, json, sys, time
import lib.settings, lib.errors
began = time.process_time()
from lib.auth.tokens import authenticate
imported = time.process_time() - began
settings = lib.settings.load_settings()
user = asyncio.run(authenticate("Bearer " + {token!r}, settings))
names = ("cryptography", "lib.auth.jwks", "lib.http_client", "certifi")
loaded = [name for name in names if name in sys.modules]
print(json.dumps({{"user": user.id, "loaded": loaded, "milliseconds": imported * 1000}}))
"""
REFUSE = """
import json
from lib.settings import SettingsError, load_settings
try:
    load_settings()
except SettingsError as error:
    print(json.dumps(str(error)))
"""


def test_a_shared_secret_loads_no_public_key_code(
    without_cryptography: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = VERIFY.format(token=token("HS256"))
    installed = Path(sysconfig.get_path("purelib"))
    bare = [run(without_cryptography, code, BETTER_AUTH_SECRET=SECRET) for _ in range(3)]
    full = [run(installed, code, BETTER_AUTH_SECRET=SECRET) for _ in range(3)]
    assert {each["user"] for each in bare + full} == {USER}
    assert [each["loaded"] for each in bare] == [[]] * 3
    # PyJWT imports it wherever it is installed: so it is an extra, not in requirements.txt.
    assert [each["loaded"] for each in full] == [["cryptography"]] * 3
    without, with_it = (min(each["milliseconds"] for each in runs) for runs in (bare, full))
    with capsys.disabled():
        sys.stdout.write(
            f"\nimport of lib.auth: {without:.0f} ms of CPU without cryptography,"
            f" {with_it:.0f} ms with it\n"
        )
    assert without < with_it


def test_cryptography_is_not_a_requirement() -> None:
    names = {line.partition("==")[0] for line in (ROOT / "requirements.txt").read_text().split()}
    assert "pyjwt" in names
    assert not names & {"cryptography", "cffi"}


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
def test_public_keys_without_cryptography_refuse_to_start(
    algorithm: str, without_cryptography: Path
) -> None:
    output = run(
        without_cryptography,
        REFUSE,
        JWT_ALGORITHM=algorithm,
        JWKS_URL="https://app.example.com/api/auth/jwks",
    )
    assert output.startswith(f"JWT_ALGORITHM {algorithm} needs the package cryptography: ")
    assert "the extra named asymmetric" in output
    assert output.count(".") == 1


# The end of a process


def test_a_hanging_name_server_does_not_keep_the_process_alive() -> None:
    code = f"""
import asyncio, json, socket, time
socket.getaddrinfo = lambda *_: time.sleep(60)
from lib.auth.tokens import authenticate
from lib.errors import KeysUnavailable
from lib.settings import load_settings
try:
    asyncio.run(authenticate("Bearer " + {token("EdDSA")!r}, load_settings()))
except KeysUnavailable as error:
    print(json.dumps(error.detail))
"""
    began = time.monotonic()
    installed = Path(sysconfig.get_path("purelib"))
    output = run(installed, code, JWT_ALGORITHM="EdDSA", JWKS_URL="https://keys.example/jwks")
    assert output.startswith("The keys to verify tokens are unavailable")
    assert time.monotonic() - began < 30
