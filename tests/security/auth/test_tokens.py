"""The table of tokens, in this process and over HTTP.

No forged token is accepted, no valid one is refused, and every refusal is a 401.
"""

import asyncio
import sys
import time
from collections import Counter

import pytest
import time_machine

from lib.auth.tokens import authenticate
from lib.errors import Unauthenticated
from lib.settings import Settings, read_settings
from tests.conftest import StartApi
from tests.security.auth.tokens import ACCEPT, ALGORITHMS, FREE, NOW, REFUSE, Case, table, variables
from tests.security.auth.verdicts import Result, leaks, run_table

MINIMUM = {ACCEPT: 60, REFUSE: 400, FREE: 30}  # cases per algorithm


@pytest.fixture(scope="module")
def results() -> dict[str, list[Result]]:
    """The results of `authenticate` for every case, by algorithm."""
    return {algorithm: list(run_table(authenticate, algorithm)) for algorithm in ALGORITHMS}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_case_gets_its_verdict(algorithm: str, results: dict[str, list[Result]]) -> None:
    faults = [str(each) for each in results[algorithm] if each.fault]
    assert not faults, "\n".join(faults)


def test_totals(results: dict[str, list[Result]], capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for algorithm, verdicts in results.items():
        cases = Counter(case.expected[next(iter(case.expected))] for case in table(algorithm))
        assert all(cases[verdict] >= least for verdict, least in MINIMUM.items()), cases
        lines.append(
            f"{algorithm}: {cases.total()} tokens ({cases[ACCEPT]} to accept, {cases[REFUSE]} to"
            f" refuse, {cases[FREE]} free), {len(verdicts)} verdicts,"
            f" {sum(bool(each.fault) for each in verdicts)} faults"
        )
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_case_is_in_the_table_twice(algorithm: str) -> None:
    names = Counter(str(case) for case in table(algorithm))
    assert names.most_common(1)[0][1] == 1
    texts = Counter(
        (case.authorization, deployment)
        for case in table(algorithm)
        for deployment in case.expected
    )
    assert texts.most_common(1)[0][1] == 1


def header_of(case: Case) -> dict[bytes, bytes]:
    if case.authorization is None:
        return {}
    return {b"authorization": case.authorization.encode("utf-8", "surrogatepass")}


# Every case of one algorithm and every seventh of the others: they differ in lib/auth and not over
# HTTP.
@pytest.mark.parametrize(("algorithm", "step"), [("HS256", 1), *((a, 7) for a in ALGORITHMS[1:])])
def test_every_refusal_is_a_401_with_its_challenge(
    algorithm: str, step: int, start_api: StartApi
) -> None:
    api = start_api(**variables(algorithm, "strict"))
    faults = []
    with time_machine.travel(NOW, tick=False):
        for case in [case for case in table(algorithm) if "strict" in case.expected][::step]:
            response = api.get("/api/nobody/tasks", headers=header_of(case))
            # An accepted token is stopped at the path of another user, before the database.
            verdict = {401: REFUSE, 403: ACCEPT}.get(response.status_code)
            challenge = response.headers.get("WWW-Authenticate")
            expected = case.expected["strict"]
            if (
                verdict is None
                or expected not in (FREE, verdict)
                or (expected == REFUSE and challenge != case.challenge)
                or set(response.json()) != {"detail"}
            ):
                faults.append(f"{case}: {response.status_code} {challenge} {response.text:.200}")
    assert not faults, "\n".join(faults)


def test_long_invalid_tokens_are_refused_before_they_are_decoded() -> None:
    junk = "Bearer " + ".".join(["A" * 3_000_000] * 3)
    settings = read_settings(variables("HS256", "strict"))
    asyncio.run(refused(junk[:100], settings))  # loads whatever the first call loads
    began = time.process_time()
    asyncio.run(refused(junk, settings))
    assert time.process_time() - began < 0.05  # decoding it would take ten times as long


async def refused(authorization: str, settings: Settings) -> None:
    with pytest.raises(Unauthenticated):
        await authenticate(authorization, settings)


def test_every_error_of_pyjwt_is_a_refusal() -> None:
    assert list(leaks(authenticate)) == []
