"""A configuration that cannot work says so, at the start or in the log, in one sentence with its
cure; and an HS256 deployment pays for no public keys.
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

from tests.conftest import RequestLines, StartApi
from tests.security.auth.key_server import KeyServer, sends, whole
from tests.security.auth.keys import SECRET, jwk, key_set, private_key, signing
from tests.security.auth.tokens import ALGORITHMS, KID, USER, Forge, variables

ROOT = Path(__file__).parents[3]


def token(algorithm: str, **header: Any) -> str:
    """A good token of now."""
    forge = Forge(algorithm, signing(algorithm, "ours"), signing(algorithm, "foreign"))
    moment = int(time.time())
    claims = forge.claims(iat=moment, exp=moment + 300)
    return forge.token(header=forge.header(**header), claims=claims)


def reason_of(api: Any, sent: str, request_lines: RequestLines) -> str:
    """The reason in the log line of a request that is refused with 401."""
    answer = api.get("/api/nobody/tasks", headers={"Authorization": f"Bearer {sent}"})
    assert answer.status_code == 401
    assert answer.json() == {"detail": "The token is invalid."}, "the client is told no more"
    [line] = request_lines()
    return line["reason"]


@pytest.mark.parametrize("ours", ALGORITHMS)
@pytest.mark.parametrize("theirs", ALGORITHMS)
def test_a_frontend_that_signs_otherwise_is_named_with_the_cure(
    ours: str, theirs: str, start_api: StartApi, request_lines: RequestLines
) -> None:
    if ours == theirs:
        return
    api = start_api(**variables(ours, "bare"))
    source = {"HS256": "BETTER_AUTH_SECRET"}.get(theirs, "JWKS_URL=<frontend>/api/auth/jwks")
    assert reason_of(api, token(theirs), request_lines) == (
        f"InvalidAlgorithmError: the token says {theirs}, JWT_ALGORITHM is {ours}: if your frontend"
        f" signs so, set JWT_ALGORITHM={theirs} and {source}"
    )


@pytest.mark.parametrize("alg", ["none", "HS512", "A" * 300, "\u001b[2J", None, ["EdDSA"], {}])
def test_an_algorithm_that_nobody_configures_is_not_quoted(
    alg: object, start_api: StartApi, request_lines: RequestLines
) -> None:
    api = start_api(**variables("HS256", "bare"))
    assert reason_of(api, token("HS256", alg=alg), request_lines) == "InvalidAlgorithmError"


def entries(*algorithms: str) -> str:
    return key_set(*(jwk(private_key(algorithm, "ours"), KID) for algorithm in algorithms))


MADE_OTHERWISE = "it has no key for EdDSA: make your issuer sign with EdDSA"
SETS: dict[str, tuple[Callable[[], str], str]] = {
    "ES256": (lambda: entries("ES256"), "it has no key for EdDSA: set JWT_ALGORITHM=ES256"),
    "RS256": (lambda: entries("RS256"), "it has no key for EdDSA: set JWT_ALGORITHM=RS256"),
    "Ed25519": (
        lambda: key_set(jwk(private_key("EdDSA", "ours"), KID, alg="Ed25519")),
        MADE_OTHERWISE,
    ),
    "no keys": (lambda: '{"keys": []}', MADE_OTHERWISE),
    "no JSON": (lambda: "<html>", "it is no JSON Web Key Set"),
    "no set": (lambda: "{}", "it is no JSON Web Key Set"),
    "too large": (lambda: " " * 150_001, "it is larger than 150000 bytes"),
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_without_the_algorithm_is_named_with_the_cure(
    name: str, start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    make, why = SETS[name]
    document = make()
    with KeyServer({"/jwks": sends(whole(document.encode()))}) as server:
        api = start_api(JWT_ALGORITHM="EdDSA", JWKS_URL=server.url("/jwks"))
        headers = {"Authorization": f"Bearer {token('EdDSA')}"}
        answer = api.get("/api/nobody/tasks", headers=headers)
    assert answer.status_code == 503
    [line] = [record for record in caplog.records if "key set" in record.getMessage()]
    assert vars(line)["why"] == why


def test_what_a_source_sends_is_not_quoted(
    start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    with KeyServer({"/jwks": sends(b"no-http-at-all\r\n")}) as server:
        api = start_api(JWT_ALGORITHM="EdDSA", JWKS_URL=server.url("/jwks"))
        headers = {"Authorization": f"Bearer {token('EdDSA')}"}
        assert api.get("/api/nobody/tasks", headers=headers).status_code == 503
    [line] = [record for record in caplog.records if "key set" in record.getMessage()]
    assert vars(line)["error"] == "BadStatusLine"
    assert "no-http" not in str(vars(line))


def test_a_static_set_without_the_algorithm_is_named_too(
    start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    api = start_api(JWT_ALGORITHM="ES256", JWKS=entries("EdDSA"))
    headers = {"Authorization": f"Bearer {token('ES256')}"}
    assert api.get("/api/nobody/tasks", headers=headers).status_code == 503
    [line] = [record for record in caplog.records if "key set" in record.getMessage()]
    assert vars(line)["why"] == "it has no key for ES256: set JWT_ALGORITHM=EdDSA"


# Without the package cryptography, as in the image of an HS256 deployment


@pytest.fixture(scope="module")
def without_cryptography(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every installed package but cryptography and what came with it."""
    folder = tmp_path_factory.mktemp("packages")
    left_out = ("cryptography", "cffi", "_cffi", "pycparser")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.lower().startswith(left_out):
            (folder / package.name).symlink_to(package)
    return folder


def run(packages: Path, code: str, **settings: str) -> Any:
    """What `code` prints, as JSON, in a process that has these packages only."""
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
caller = asyncio.run(authenticate("Bearer " + {token!r}, settings))
names = ("cryptography", "lib.auth.jwks", "lib.download", "certifi")
loaded = [name for name in names if name in sys.modules]
print(json.dumps({{"caller": caller.id, "loaded": loaded, "milliseconds": imported * 1000}}))
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
    assert {each["caller"] for each in bare + full} == {USER}
    assert [each["loaded"] for each in bare] == [[]] * 3
    # PyJWT imports it wherever it is: so it is an extra, and not in requirements.txt.
    assert [each["loaded"] for each in full] == [["cryptography"]] * 3
    cheap, dear = (min(each["milliseconds"] for each in runs) for runs in (bare, full))
    with capsys.disabled():
        sys.stdout.write(
            f"\nimport of lib.auth: {cheap:.0f} ms of CPU without cryptography, {dear:.0f} with\n"
        )
    assert cheap < dear


def test_cryptography_is_no_requirement() -> None:
    names = {line.partition("==")[0] for line in (ROOT / "requirements.txt").read_text().split()}
    assert "pyjwt" in names
    assert not names & {"cryptography", "cffi"}


@pytest.mark.parametrize("algorithm", ALGORITHMS[1:])
def test_public_keys_without_cryptography_refuse_to_start(
    algorithm: str, without_cryptography: Path
) -> None:
    said = run(
        without_cryptography,
        REFUSE,
        JWT_ALGORITHM=algorithm,
        JWKS_URL="https://app.example.com/api/auth/jwks",
    )
    assert said.startswith(f"JWT_ALGORITHM {algorithm} needs the package cryptography: ")
    assert "the extra named asymmetric" in said
    assert said.count(".") == 1


# How a process ends


def test_a_name_server_that_hangs_does_not_hold_the_process_up() -> None:
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
    said = run(installed, code, JWT_ALGORITHM="EdDSA", JWKS_URL="https://keys.example/jwks")
    assert said.startswith("The keys to verify tokens are unavailable")
    assert time.monotonic() - began < 30
