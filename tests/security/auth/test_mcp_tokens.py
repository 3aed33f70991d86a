"""The tables of tokens at the MCP endpoint, and its access tokens at the other routes."""

import sys
from collections import Counter
from dataclasses import replace
from types import FunctionType

import pytest
import time_machine

from lib.auth import jwks, mcp_access, signatures, tokens
from lib.auth.tokens import authenticate
from tests.conftest import StartApi
from tests.security.auth import remembered
from tests.security.auth.access_tokens import access_table, session_table
from tests.security.auth.mcp_checks import CHECKS
from tests.security.auth.test_tokens import header_of
from tests.security.auth.tokens import ACCEPT, ALGORITHMS, FREE, NOW, REFUSE, Case, variables
from tests.security.auth.verdicts import METADATA_URL, Result, at_mcp, leaks, run_table

MINIMUM = {ACCEPT: 80, REFUSE: 450, FREE: 20}  # cases per asymmetric algorithm


@pytest.fixture(scope="module")
def results() -> dict[str, list[Result]]:
    """The results at the MCP endpoint for every access token, by algorithm."""
    return {a: list(run_table(at_mcp(mcp_access), a, cases=access_table)) for a in ALGORITHMS}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_access_token_gets_its_verdict(
    algorithm: str, results: dict[str, list[Result]]
) -> None:
    faults = [str(each) for each in results[algorithm] if each.fault]
    assert not faults, "\n".join(faults)


def test_a_shared_secret_verifies_no_access_token(results: dict[str, list[Result]]) -> None:
    assert {each.verdict for each in results["HS256"]} == {REFUSE}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_session_token_gets_the_verdict_of_the_other_routes(algorithm: str) -> None:
    results = run_table(at_mcp(mcp_access), algorithm, cases=session_table)
    faults = [str(each) for each in results if each.fault]
    assert not faults, "\n".join(faults)


def refused_elsewhere(algorithm: str) -> list[Case]:
    """The access tokens; whatever their verdict at the MCP endpoint, other routes refuse them."""
    return [
        replace(each, expected={"mcp strict": REFUSE, "bare": REFUSE}, reason=None)
        for each in access_table(algorithm)
    ]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_access_token_is_accepted_by_the_other_routes(algorithm: str) -> None:
    results = run_table(authenticate, algorithm, cases=refused_elsewhere)
    assert [str(each) for each in results if each.verdict != REFUSE] == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_access_token_is_accepted_by_a_route_over_http(
    algorithm: str, start_api: StartApi
) -> None:
    api = start_api(**variables(algorithm, "mcp bare"))
    with time_machine.travel(NOW, tick=False):
        statuses = {
            str(case): api.get("/api/nobody/tasks", headers=header_of(case)).status_code
            for case in access_table(algorithm)
            if case.expected.get("mcp strict") == ACCEPT or case.kind == "access tokens"
        }
    assert len(statuses) > 10
    assert set(statuses.values()) == {401}


MESSAGE = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


# As in test_tokens.py, every case of one algorithm and every seventh of the others.
@pytest.mark.parametrize(("algorithm", "step"), [("EdDSA", 1), ("ES256", 7), ("RS256", 7)])
def test_every_refusal_of_the_endpoint_is_a_401_with_its_challenge(
    algorithm: str, step: int, start_api: StartApi
) -> None:
    api = start_api(**variables(algorithm, "mcp strict"))
    version = {b"mcp-protocol-version": b"2025-11-25"}
    faults = []
    with time_machine.travel(NOW, tick=False):
        cases = [case for case in access_table(algorithm) if "mcp strict" in case.expected]
        for case in cases[::step]:
            response = api.post("/api/mcp", json=MESSAGE, headers=version | header_of(case))
            verdict = {401: REFUSE, 200: ACCEPT}.get(response.status_code)
            expected = case.expected["mcp strict"]
            separator = " " if case.challenge == "Bearer" else ", "
            challenge = f'{case.challenge}{separator}resource_metadata="{METADATA_URL}"'
            if (
                verdict is None
                or expected not in (FREE, verdict)
                or (expected == REFUSE and response.headers["WWW-Authenticate"] != challenge)
            ):
                faults.append(f"{case}: {response.status_code} {response.headers}")
    assert not faults, "\n".join(faults)


def test_every_error_of_pyjwt_is_a_refusal() -> None:
    [case] = [each for each in access_table("EdDSA") if str(each) == "access tokens: plain"]
    assert list(leaks(at_mcp(mcp_access), case, "EdDSA", "mcp strict")) == []


MODULES = {"jwks": jwks, "signatures": signatures, "tokens": tokens, "mcp_access": mcp_access}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check(check: FunctionType) -> None:
    remembered.run(check, MODULES)


def test_totals(results: dict[str, list[Result]], capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for algorithm, verdicts in results.items():
        cases = Counter(
            case.expected[next(iter(case.expected))] for case in access_table(algorithm)
        )
        if algorithm != "HS256":
            assert all(cases[verdict] >= least for verdict, least in MINIMUM.items()), cases
        sessions = sum(len(case.expected) for case in session_table(algorithm))
        lines.append(
            f"{algorithm} at MCP: {cases.total()} access tokens ({cases[ACCEPT]} to accept,"
            f" {cases[REFUSE]} to refuse, {cases[FREE]} free), {len(verdicts)} verdicts,"
            f" {sum(bool(each.fault) for each in verdicts)} faults; {sessions} verdicts of"
            " session tokens"
        )
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_access_token_is_in_the_table_twice(algorithm: str) -> None:
    names = Counter(str(case) for case in access_table(algorithm))
    assert names.most_common(1)[0][1] == 1
    texts = Counter(
        (case.authorization, deployment)
        for case in access_table(algorithm)
        for deployment in case.expected
    )
    assert texts.most_common(1)[0][1] == 1
