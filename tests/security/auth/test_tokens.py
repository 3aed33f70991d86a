"""No forged token, no valid one refused, nothing but a 401 for the rest: the table, read in the
process and over HTTP.
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
from tests.security.auth.verdicts import Said, leaks, read_table

LEAST = {ACCEPT: 60, REFUSE: 400, FREE: 30}  # cases an algorithm


@pytest.fixture(scope="module")
def said() -> dict[str, list[Said]]:
    """What `authenticate` says to every case, by algorithm."""
    return {algorithm: list(read_table(authenticate, algorithm)) for algorithm in ALGORITHMS}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_case_gets_its_verdict(algorithm: str, said: dict[str, list[Said]]) -> None:
    faults = [str(each) for each in said[algorithm] if each.fault]
    assert not faults, "\n".join(faults)


def test_totals(said: dict[str, list[Said]], capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for algorithm, verdicts in said.items():
        cases = Counter(case.expected[next(iter(case.expected))] for case in table(algorithm))
        assert all(cases[verdict] >= least for verdict, least in LEAST.items()), cases
        lines.append(
            f"{algorithm}: {cases.total()} tokens ({cases[ACCEPT]} to accept, {cases[REFUSE]} to"
            f" refuse, {cases[FREE]} free), {len(verdicts)} verdicts,"
            f" {sum(bool(each.fault) for each in verdicts)} faults"
        )
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_case_stands_twice_in_the_table(algorithm: str) -> None:
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


# Every case of one algorithm, every seventh of the others, for what differs between them is in
# lib/auth/tokens.py and not in HTTP.
@pytest.mark.parametrize(("algorithm", "step"), [("HS256", 1), *((a, 7) for a in ALGORITHMS[1:])])
def test_every_refusal_is_a_401_with_its_challenge(
    algorithm: str, step: int, start_api: StartApi
) -> None:
    api = start_api(**variables(algorithm, "strict"))
    faults = []
    with time_machine.travel(NOW, tick=False):
        for case in [case for case in table(algorithm) if "strict" in case.expected][::step]:
            answer = api.get("/api/nobody/tasks", headers=header_of(case))
            # An accepted token ends at another user's path, before any database.
            verdict = {401: REFUSE, 403: ACCEPT}.get(answer.status_code)
            challenge = answer.headers.get("WWW-Authenticate")
            expected = case.expected["strict"]
            if (
                verdict is None
                or expected not in (FREE, verdict)
                or (expected == REFUSE and challenge != case.challenge)
                or set(answer.json()) != {"detail"}
            ):
                faults.append(f"{case}: {answer.status_code} {challenge} {answer.text:.200}")
    assert not faults, "\n".join(faults)


def test_long_junk_is_refused_before_it_is_read() -> None:
    junk = "Bearer " + ".".join(["A" * 3_000_000] * 3)
    settings = read_settings(variables("HS256", "strict"))
    asyncio.run(refused(junk[:100], settings))  # whatever is loaded at the first call
    began = time.process_time()
    asyncio.run(refused(junk, settings))
    assert time.process_time() - began < 0.05  # decoding it would take ten times as long


async def refused(authorization: str, settings: Settings) -> None:
    with pytest.raises(Unauthenticated):
        await authenticate(authorization, settings)


def test_whatever_a_token_brings_out_of_pyjwt_is_a_refusal() -> None:
    assert list(leaks(authenticate)) == []
