"""An event loop that turns only if something has to be waited for; knows no event."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any


class InvocationLoop(asyncio.SelectorEventLoop):
    """Runs one coroutine after the other, each as far as it comes by itself.

    On Lambda hardly any has to wait: a sandbox serves one request at a time, so the database is
    waited for in place (lib/db/pool.py). Turning all the same, twice a request with two calls of
    the system, costs 80 k instructions.
    """

    _starts = False

    def is_running(self) -> bool:
        # A task starts at once only on a loop that says so.
        return self._starts or super().is_running()

    def complete[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns or raises."""
        outer, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        # As run_forever does: who leaves an async generator early relies on its end being run.
        sys.set_asyncgen_hooks(
            self._asyncgen_firstiter_hook,  # ty: ignore[missing-attribute]
            self._asyncgen_finalizer_hook,  # ty: ignore[missing-attribute]
        )
        self._starts = True
        try:
            task = asyncio.Task(coroutine, loop=self, eager_start=True)
        finally:
            self._starts = False
            sys.set_asyncgen_hooks(*hooks)
            asyncio._set_running_loop(outer)
        asked_for = self._ready  # ty: ignore[missing-attribute]
        if task.done() and not asked_for:
            return task.result()
        return self.run_until_complete(task)
