"""`make dev` serves every change, and responds with the error of a mistake."""

import json
import time
import urllib.error
import urllib.request

from dev.postgres import free_port
from tests.tooling.contributor.terminal import TIMEOUT, Terminal, typed
from tests.tooling.contributor.working_copy import WorkingCopy

ROUTE = '''@router.get("/hello")
async def say_hello() -> str:
    """Say hello."""
    return "hello"


app = create_app(router)'''


def test_a_change_is_served_and_a_mistake_is_the_response_until_it_is_corrected(
    copy: WorkingCopy,
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/health"
    with typed(
        "make", "dev", folder=copy.root, environment=copy.environment(PORT=str(port))
    ) as dev:
        dev.wait_for("Ctrl-C")
        assert get(url) == {"status": "ok"}
        missing = get(f"{url}/hello")
        assert isinstance(missing, dict)
        assert list(missing) == ["detail"]

        copy.replace("api/health.py", "app = create_app(router)", ROUTE)
        wait_for_response(f"{url}/hello", "hello", dev)

        # A syntax error, then one that shows only when the module runs.
        copy.replace("api/health.py", 'return "hello"', 'return "hello')
        line = line_of(copy, '    return "hello')
        fault = f"api/health.py:{line}: SyntaxError: unterminated string literal"
        count = await_failure(url, fault, dev)
        assert any(f'health.py", line {line}' in each for each in dev.lines[:count])

        copy.replace("api/health.py", 'return "hello', 'return "hello again"')
        wait_for_response(f"{url}/hello", "hello again", dev)

        copy.replace("api/health.py", "app = create_app(router)", "app = create_ap(router)")
        line = line_of(copy, "app = create_ap(router)")
        await_failure(url, f"api/health.py:{line}: NameError: name 'create_ap'", dev)

        copy.replace("api/health.py", "app = create_ap(router)", "app = create_app(router)")
        wait_for_response(f"{url}/hello", "hello again", dev)


def test_a_server_that_starts_with_a_mistake_recovers_too(copy: WorkingCopy) -> None:
    copy.replace("api/tasks.py", "app = create_app(", "app = create_ap(")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/health"
    with typed(
        "make", "dev", folder=copy.root, environment=copy.environment(PORT=str(port))
    ) as dev:
        await_failure(url, "api/tasks.py:", dev)
        assert any("Ctrl-C" in line for line in dev.lines)
        copy.replace("api/tasks.py", "app = create_ap(", "app = create_app(")
        wait_for_response(url, {"status": "ok"}, dev)


def line_of(copy: WorkingCopy, text: str) -> int:
    return (copy.root / "api/health.py").read_text().splitlines().index(text) + 1


def await_failure(url: str, fault: str, dev: Terminal) -> int:
    """Wait until the terminal and the response name the fault; returns the line count."""
    count = dev.wait_for(fault)
    response = get(url)
    assert isinstance(response, dict)
    assert response["detail"].startswith(fault)
    return count


def get(url: str) -> object:
    """The JSON of a response, which must come quickly."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - of this test
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def wait_for_response(url: str, expected: object, dev: Terminal) -> None:
    until = time.monotonic() + TIMEOUT
    got: object = None
    while time.monotonic() < until:
        try:
            got = get(url)
        except OSError as error:  # a reload may close a connection
            got = error
        if got == expected:
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} responds {got!r}:\n" + "\n".join(dev.lines))
