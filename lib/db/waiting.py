"""Waiting for sockets and threads: by the event loop on servers, blocking on Lambda.

A Lambda sandbox serves one request at a time. There a wait blocks, because running the event loop
would cost a tenth of a warm request (measured in bench/NOTES.md).
"""

import asyncio
import concurrent.futures
import math
import select
import time

from lib.settings import load_settings


def blocks() -> bool:
    """Whether this process waits by blocking."""
    return load_settings().platform == "lambda"


async def ready(descriptor: int, events: int, seconds: float) -> bool:
    """Wait until a socket is readable (`select.POLLIN`) or writable (`select.POLLOUT`).

    Returns false if it is not within `seconds`, which may be infinite.
    """
    if blocks():
        return poll(descriptor, events, seconds)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bool] = loop.create_future()

    def settle(result: bool) -> None:
        if not future.done():
            future.set_result(result)

    if events & select.POLLIN:
        loop.add_reader(descriptor, settle, True)
    if events & select.POLLOUT:
        loop.add_writer(descriptor, settle, True)
    timer = None if seconds == math.inf else loop.call_later(seconds, settle, False)
    try:
        return await future
    finally:
        if events & select.POLLIN:
            loop.remove_reader(descriptor)
        if events & select.POLLOUT:
            loop.remove_writer(descriptor)
        if timer:
            timer.cancel()


def poll(descriptor: int, events: int, seconds: float) -> bool:
    """The same, blocking."""
    poller = select.poll()
    poller.register(descriptor, events)
    return bool(poller.poll(None if seconds == math.inf else math.ceil(1000 * max(0.0, seconds))))


async def result_of[T](future: concurrent.futures.Future[T], seconds: float) -> T:
    """The result of a thread. Raises TimeoutError if there is none within `seconds`."""
    if not blocks():
        # Not cancelled at the deadline: the thread continues, and its result is dropped.
        done = asyncio.wrap_future(future)
        done.add_done_callback(lambda each: each.cancelled() or each.exception())
        await asyncio.wait([done], timeout=seconds)
        if not done.done():
            raise TimeoutError
    return future.result(timeout=seconds)


async def sleep(seconds: float) -> None:
    if blocks():
        time.sleep(seconds)  # noqa: ASYNC251 - see the first lines of this module
    else:
        await asyncio.sleep(seconds)
