"""An event loop that turns only if something has to be waited for; knows no event."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class InvocationLoop(asyncio.SelectorEventLoop):
    """Runs one coroutine after the other, each as far as it comes by itself.

    On Lambda hardly any has to wait: a sandbox serves one request at a time, so the database is
    waited for in place (lib/database.py). Turning all the same, twice a request with two calls of
    the system, costs 80 k instructions.
    """

    _starts = False

    def is_running(self) -> bool:
        # A task starts at once only on a loop that says so.
        return self._starts or super().is_running()

    def complete[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self._starts = True
        try:
            task = asyncio.Task(coroutine, loop=self, eager_start=True)
        finally:
            self._starts = False
            asyncio._set_running_loop(outer)
        return task.result() if task.done() else self.run_until_complete(task)
