"""What a coroutine may rely on is there, whether it waits or not."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.to_thread
import pytest

from lib.invocation_loop import InvocationLoop

WORD: ContextVar[str] = ContextVar("word", default="of the caller")


class Turned(InvocationLoop):
    turns = 0

    def run_forever(self) -> None:
        self.turns += 1
        super().run_forever()


@pytest.fixture
def loop() -> Iterator[Turned]:
    loop = Turned()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


async def nothing() -> str:
    return "done"


async def the_loop_and_the_task() -> str:
    task = asyncio.current_task()
    assert task is not None
    assert asyncio.get_running_loop() is task.get_loop()
    return "done"


async def awaiting_others() -> str:
    return await nothing()


@pytest.mark.parametrize("work", [nothing, the_loop_and_the_task, awaiting_others])
def test_what_does_not_wait_turns_no_loop(work: Callable[[], Any], loop: Turned) -> None:
    assert loop.complete(work()) == "done"
    assert loop.turns == 0


async def a_pause() -> str:
    await asyncio.sleep(0.001)
    return "done"


async def a_turn() -> str:
    await asyncio.sleep(0)
    return "done"


async def a_thread() -> str:
    assert await asyncio.to_thread(threading.get_ident) != threading.get_ident()
    return "done"


async def a_thread_of_anyio() -> str:
    assert await anyio.to_thread.run_sync(threading.get_ident) != threading.get_ident()
    return "done"


async def tasks_of_its_own() -> str:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(a_pause()) for _ in range(3)]
    return tasks[2].result()


async def tasks_of_anyio() -> str:
    async with anyio.create_task_group() as group:
        group.start_soon(a_pause)
    return "done"


async def a_time_limit() -> str:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(5)
    return "done"


async def a_generator() -> str:
    async def generate() -> AsyncGenerator[str]:
        await asyncio.sleep(0.001)
        yield "done"

    return await anext(generate())


async def a_future_of_another_thread() -> str:
    future: Awaitable[str] = asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(nothing(), asyncio.get_running_loop())
    )
    return await future


@pytest.mark.parametrize(
    "work",
    [
        a_pause, a_turn, a_thread, a_thread_of_anyio, tasks_of_its_own, tasks_of_anyio,
        a_time_limit, a_generator, a_future_of_another_thread,
    ],
)  # fmt: skip
def test_what_waits_turns_it_once(work: Callable[[], Any], loop: Turned) -> None:
    for times in (1, 2):
        assert loop.complete(work()) == "done"
        assert loop.turns == times


@pytest.mark.parametrize("waits", [False, True])
def test_an_error_is_raised_and_the_loop_is_good_for_more(waits: bool, loop: Turned) -> None:
    async def fail() -> None:
        if waits:
            await asyncio.sleep(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        loop.complete(fail())
    assert not loop.is_running()
    assert loop.complete(a_pause()) == "done"


@pytest.mark.parametrize("waits", [False, True])
def test_what_it_sets_in_its_context_stays_there(waits: bool, loop: Turned) -> None:
    async def change() -> str:
        assert WORD.get() == "of the caller"
        WORD.set("of the task")
        if waits:
            await asyncio.sleep(0)
        return WORD.get()

    assert loop.complete(change()) == "of the task"
    assert WORD.get() == "of the caller"


def test_a_generator_that_is_left_early_runs_to_its_end(loop: Turned) -> None:
    ended: list[str] = []

    async def generate() -> AsyncGenerator[str]:
        try:
            yield "done"
            yield "never asked for"
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    async def leave() -> str:
        return await anext(generate())

    assert loop.complete(leave()) == "done"
    assert loop.complete(a_pause()) == "done"
    assert ended == ["cleaned up"]


def test_who_asks_to_be_called_is_called(loop: Turned) -> None:
    called: list[int] = []

    async def ask() -> str:
        asyncio.get_running_loop().call_soon(called.append, 1)
        return "done"

    for times in (1, 2):
        assert loop.complete(ask()) == "done"
        assert len(called) == times


def test_a_loop_around_it_runs_on(loop: Turned) -> None:
    async def around() -> str:
        word = loop.complete(the_loop_and_the_task())
        assert asyncio.get_running_loop() is not loop
        await asyncio.sleep(0.001)
        return word

    assert asyncio.run(around()) == "done"
    assert loop.turns == 0
