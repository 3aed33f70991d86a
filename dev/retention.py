"""`make retention`: one run of the retention job, on the database at DATABASE_URL.

`make retention URL=https://...` lets a deployment run it, with CRON_SECRET.
"""

import asyncio
import os
import sys
from dataclasses import asdict
from typing import Any

from lib.db.pool import close_pools
from lib.db.retention import remove_expired
from lib.errors import ApiError
from lib.http_client import TransportError, request
from lib.settings import SettingsError, load_settings
from migrations.owner_url import describe, load_env_file

RESPONSE_TIMEOUT = 30.0  # seconds


class CannotRun(Exception):
    """The job did not run. The text is one sentence that says why."""


def run_here() -> dict[str, Any]:
    """Run the job in this process. Raises ApiError, CannotRun and SettingsError."""
    if load_settings().DATABASE_URL is None:
        raise CannotRun(
            "DATABASE_URL is not set: set it to the API's, or name a deployment with make retention"
            " URL=https://..."
        )
    try:
        return asdict(asyncio.run(remove_expired()))
    finally:
        close_pools()


def run_there(url: str) -> dict[str, Any]:
    """Let the deployment at this URL run the job. Raises CannotRun and SettingsError."""
    settings = load_settings()
    if not settings.CRON_SECRET:
        raise CannotRun("Set CRON_SECRET to the deployment's: only with it does a URL run the job.")
    try:
        response = request(
            "GET",
            f"{url.rstrip('/')}/api/retention",
            timeout=RESPONSE_TIMEOUT,
            headers={"Authorization": f"Bearer {settings.CRON_SECRET}"},
            ca_bundle=settings.SSL_CERT_FILE,
        )
        report = response.json()
        if response.status != 200:
            raise CannotRun(f"The response is {response.status}: {report['detail']}")
    except TransportError as error:
        raise CannotRun(f"No response: {error}.") from error
    except (ValueError, LookupError, TypeError) as error:
        raise CannotRun(f"The response is {response.status}, not of this API.") from error
    return report


def main() -> None:
    load_env_file()
    # The printed sentence takes the place of the log line.
    os.environ["LOG_LEVEL"] = "WARNING"
    [url] = sys.argv[1:] or [""]
    try:
        report = run_there(url) if url else run_here()
    except ApiError as error:
        sys.exit(f"{error.detail} {error.reason or ''}".strip())
    except (CannotRun, SettingsError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    where = url or describe(load_settings().DATABASE_URL or "")
    print(
        f"Removed {_counts(report['removed'])} in {report['milliseconds'] / 1000:.1f} s from"
        f" {where}."
    )
    if any(report["left"].values()):
        hours = report["overdue_seconds"] / 3600
        print(
            f"Left: {_counts(report['left'])}; the oldest expired {hours:.1f} hours ago. Run the"
            " command again."
        )


def _counts(rows: dict[str, int]) -> str:
    return (
        f"{rows['idempotency_keys']} idempotency keys, the texts of {rows['task_texts']} deleted"
        f" tasks and the ids of {rows['task_ids']}"
    )


if __name__ == "__main__":
    main()
