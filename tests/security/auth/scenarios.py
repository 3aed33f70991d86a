"""Checks of the key cache, as scenarios in the life of one key set.

Each takes the module under test, so that a mutant can be tested too. The sources of keys are
functions here; test_jwks.py uses servers.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable
from threading import Event
from types import FunctionType, ModuleType
from typing import Any

import time_machine

from lib.errors import KeysUnavailable
from tests.security.auth.keys import jwk, key_set, private_key
from tests.security.auth.tokens import NOW

MARGIN = 0.5  # seconds that a busy machine may add


class Source:
    """Returns the keys of `names` and counts the fetches; a closed `gate` delays them."""

    def __init__(self, jwks: ModuleType, *names: str) -> None:
        self.jwks = jwks
        self.names: dict[Any, str] = {name: name for name in names}  # private key by kid
        self.fetches = 0
        self.error: Exception | None = None
        self.gate = Event()
        self.gate.set()

    def __call__(self) -> dict:
        self.fetches += 1
        self.gate.wait(3)
        if self.error:
            raise self.error
        entries = [jwk(private_key("EdDSA", key), kid) for kid, key in self.names.items()]
        return self.jwks.read_keys(key_set(*entries), "EdDSA")


async def outcome(finding: Awaitable) -> str:
    """`found`, or the class of the error."""
    try:
        await finding
    except Exception as error:  # noqa: BLE001 - its class is the outcome
        return type(error).__name__
    return "found"


async def outcomes(cache, kids: list[str]) -> set[str]:
    """The outcomes of looking all of them up at once."""
    return set(await asyncio.gather(*(outcome(cache.find(kid)) for kid in kids)))


async def finished(source: Source, fetches: int) -> None:
    """Wait until the thread of the last fetch has ended."""
    for _ in range(400):
        if source.fetches >= fetches:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)


async def a_cold_start_fetches_once(jwks: ModuleType, _: time_machine.Traveller) -> None:
    source = Source(jwks, "a", "b")
    source.gate.clear()
    cache = jwks.KeySet(source)
    asyncio.get_running_loop().call_later(0.05, source.gate.set)
    assert await outcomes(cache, ["a", "b"] * 10) == {"found"}
    assert source.fetches == 1


async def a_flood_of_unknown_kids_is_one_fetch_per_cooldown(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    assert await outcome(cache.find("a")) == "found"
    for attempt in range(1, 4):
        assert await outcomes(cache, [f"no{n}" for n in range(200)]) == {"UnknownKey"}
        for number in range(20):
            assert await outcome(cache.find(f"no{number}")) == "UnknownKey"
        assert source.fetches == attempt
        clock.shift(9.5)
        assert await outcome(cache.find("no")) == "UnknownKey"
        assert source.fetches == attempt
        clock.shift(0.5)


async def a_known_kid_never_waits(jwks: ModuleType, clock: time_machine.Traveller) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    await cache.find("a")
    clock.shift(599)
    await cache.find("a")
    assert source.fetches == 1, "fresh keys are not fetched again"
    clock.shift(2)
    source.gate.clear()
    began = time.monotonic()
    unknown = asyncio.create_task(outcome(cache.find("no")))
    for _ in range(20):
        await cache.find("a")
        await asyncio.sleep(0)
    assert time.monotonic() - began < MARGIN
    source.gate.set()
    assert await unknown == "UnknownKey"
    assert source.fetches == 2


async def old_keys_are_refreshed_in_the_background(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    await cache.find("a")
    clock.shift(601)
    await cache.find("a")
    await finished(source, 2)
    assert source.fetches == 2
    await cache.find("a")
    assert source.fetches == 2, "they are fresh again"


async def an_outage_counts_attempts_and_keeps_known_keys(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    await cache.find("a")
    source.error = OSError()
    clock.shift(3600)
    for minute in range(5):
        assert await outcomes(cache, ["a"] * 20) == {"found"}
        await finished(source, 2 + minute)
        # Whether this one exists cannot be known during an outage.
        assert await outcomes(cache, ["no"] * 20) == {"KeysUnavailable"}
        assert await outcomes(cache, ["a"] * 20) == {"found"}
        assert source.fetches == 2 + minute
        clock.shift(60)
    source.error = None
    assert await outcome(cache.find("no")) == "UnknownKey"


async def a_cold_outage_is_not_a_refusal(jwks: ModuleType, clock: time_machine.Traveller) -> None:
    source = Source(jwks, "a")
    source.error = OSError()
    cache = jwks.KeySet(source)
    assert KeysUnavailable().headers["Retry-After"] == "5"
    for attempt in range(1, 4):
        assert await outcomes(cache, ["a"] * 20) == {"KeysUnavailable"}
        assert await outcomes(cache, ["a"] * 20) == {"KeysUnavailable"}
        clock.shift(4.5)
        assert await outcome(cache.find("a")) == "KeysUnavailable"
        assert source.fetches == attempt
        clock.shift(0.5)
    source.error = None
    assert await outcome(cache.find("a")) == "found", (
        "a client that retries after Retry-After succeeds"
    )


async def stale_keys_are_discarded_after_a_day(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    await cache.find("a")
    source.error = OSError()
    clock.shift(24 * 3600 - 1)
    assert await outcome(cache.find("a")) == "found"
    await finished(source, 2)
    clock.shift(11)
    assert await outcome(cache.find("a")) == "KeysUnavailable", "after an attempt that failed"
    assert await outcome(cache.find("a")) == "KeysUnavailable", "and during the cooldown"
    source.error = None
    clock.shift(5)
    assert await outcome(cache.find("a")) == "found"


async def a_new_kid_is_found_after_the_cooldown(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    await cache.find("a")
    source.names["b"] = "b"
    assert await outcome(cache.find("b")) == "UnknownKey"
    clock.shift(10)
    assert await outcome(cache.find("b")) == "found"
    assert await outcome(cache.find("a")) == "found"


async def a_new_key_under_an_old_kid_is_found_by_one_fetch(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    old = await cache.find("a")
    source.names["a"] = "another"
    assert await cache.find("a", instead_of=old) is old, "within the cooldown"
    clock.shift(10)
    new = await cache.find("a", instead_of=old)
    assert new.key != old.key
    assert await cache.find("a") is new
    for _ in range(20):
        assert await cache.find("a", instead_of=new) is new
    assert source.fetches == 2, "nor do bad signatures cause a flood"


async def a_removed_key_is_gone_after_a_refresh(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a", "b")
    cache = jwks.KeySet(source)
    old = await cache.find("b")
    del source.names["b"]
    clock.shift(601)
    await cache.find("a")
    await finished(source, 2)
    assert await outcome(cache.find("b")) == "UnknownKey"
    assert await outcome(cache.find("b", instead_of=old)) == "UnknownKey"
    assert await outcome(cache.find("a")) == "found"


async def an_empty_set_does_not_replace_the_keys(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    cache = jwks.KeySet(source)
    await cache.find("a")
    source.names.clear()
    clock.shift(601)
    await cache.find("a")
    await finished(source, 2)
    assert await outcome(cache.find("a")) == "found"
    assert await outcome(cache.find("b")) == "KeysUnavailable"


async def a_hanging_source_delays_no_second_request(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    source.gate.clear()
    cache = jwks.KeySet(source)
    threads = set(threading.enumerate())
    began = time.monotonic()
    longest_pause = asyncio.create_task(longest_pause_of_the_loop(0.5))
    assert await outcomes(cache, ["a"] * 20) == {"KeysUnavailable"}
    assert 1.4 < time.monotonic() - began < 1.5 + MARGIN
    assert await longest_pause < MARGIN, "the event loop is not blocked"
    new = set(threading.enumerate()) - threads
    assert new
    assert all(thread.daemon for thread in new), "or the process could not end"
    clock.shift(1.5)
    # A fetch may take longer than a request waits; meanwhile there is no other.
    began = time.monotonic()
    assert await outcomes(cache, ["a"] * 20) == {"KeysUnavailable"}
    clock.shift(60)
    assert await outcomes(cache, ["a"] * 20) == {"KeysUnavailable"}
    assert time.monotonic() - began < MARGIN
    assert source.fetches == 1
    source.gate.set()
    await finished(source, 1)
    assert await outcome(cache.find("a")) == "found", "a late result is used"


async def a_fetch_goes_on_behind_its_request(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    source = Source(jwks, "a")
    source.gate.clear()
    cache = jwks.KeySet(source)
    assert await outcome(cache.find("a")) == "KeysUnavailable"
    clock.shift(2)
    source.gate.set()
    await finished(source, 1)
    assert await outcome(cache.find("a")) == "found"
    assert source.fetches == 1


async def a_longer_wait_can_be_configured(jwks: ModuleType, _: time_machine.Traveller) -> None:
    source = Source(jwks, "a")
    source.gate.clear()
    cache = jwks.KeySet(source, max_wait=5)
    asyncio.get_running_loop().call_later(2, source.gate.set)
    assert await outcome(cache.find("a")) == "found"


async def a_single_key_without_kid_verifies_every_token(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    """There is nothing to choose; and it can be replaced."""
    source = Source(jwks)
    source.names = {...: "a"}  # kid left out
    cache = jwks.KeySet(source)
    old = await cache.find(None)
    assert await cache.find("whatever") is old
    source.names = {...: "b"}
    clock.shift(10)
    assert await cache.find(None, instead_of=old) is not old
    assert source.fetches == 2


async def keys_that_no_token_can_choose_are_unusable(
    jwks: ModuleType, _: time_machine.Traveller
) -> None:
    entries = [jwk(private_key("EdDSA", name), ...) for name in ("a", "b")]
    cache = jwks.KeySet(lambda: jwks.read_keys(key_set(*entries), "EdDSA"))
    assert await outcome(cache.find(None)) == "KeysUnavailable"


async def malformed_keys_do_not_replace_the_keys(
    jwks: ModuleType, clock: time_machine.Traveller
) -> None:
    entries = [jwk(private_key("EdDSA", "a"), "a")]
    cache = jwks.KeySet(lambda: jwks.read_keys(key_set(*entries), "EdDSA"))
    await cache.find("a")
    entries[0] |= {"x": "AAAA"}
    clock.shift(10)
    assert await outcome(cache.find("b")) == "KeysUnavailable"
    assert await outcome(cache.find("a")) == "found"


async def longest_pause_of_the_loop(seconds: float) -> float:
    longest, before = 0.0, time.monotonic()
    for _ in range(int(seconds / 0.01)):
        await asyncio.sleep(0.01)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    return longest


SCENARIOS: tuple[FunctionType, ...] = (
    a_cold_start_fetches_once,
    a_flood_of_unknown_kids_is_one_fetch_per_cooldown,
    a_known_kid_never_waits,
    old_keys_are_refreshed_in_the_background,
    an_outage_counts_attempts_and_keeps_known_keys,
    a_cold_outage_is_not_a_refusal,
    stale_keys_are_discarded_after_a_day,
    a_new_kid_is_found_after_the_cooldown,
    a_new_key_under_an_old_kid_is_found_by_one_fetch,
    a_removed_key_is_gone_after_a_refresh,
    an_empty_set_does_not_replace_the_keys,
    a_hanging_source_delays_no_second_request,
    a_fetch_goes_on_behind_its_request,
    a_longer_wait_can_be_configured,
    a_single_key_without_kid_verifies_every_token,
    keys_that_no_token_can_choose_are_unusable,
    malformed_keys_do_not_replace_the_keys,
)


def play(scenario: FunctionType, jwks: ModuleType) -> None:
    """Run a scenario against this module. Raises whatever fails."""
    with time_machine.travel(NOW, tick=False) as clock:
        asyncio.run(asyncio.wait_for(scenario(jwks, clock), timeout=20))
