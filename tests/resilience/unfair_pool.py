"""The API with a planted bug, which the fairness program must find: all users are one to the pool.

So they share one queue, and a request waits behind all requests of another user.
"""

from typing import Any

from dev.app import app
from lib.db.pool import Pool

__all__ = ["app"]

_acquire, _release = Pool.acquire, Pool.release


async def _acquire_as_one(self: Pool, _: str, *arguments: Any, **options: Any) -> Any:
    return await _acquire(self, "", *arguments, **options)


def _release_as_one(self: Pool, _: str, *arguments: Any, **options: Any) -> None:
    _release(self, "", *arguments, **options)


Pool.acquire, Pool.release = _acquire_as_one, _release_as_one
