"""`make dev` while somebody writes: changes are taken up, a mistake is shown and can be mended."""

import json
import time
import urllib.error
import urllib.request

from dev.postgres import free_port
from tests.tooling.contributor.terminal import PATIENCE, Terminal, typed
from tests.tooling.contributor.working_copy import WorkingCopy

ROUTE = '''@router.get("/hello")
async def say_hello() -> str:
    """Say hello."""
    return "hello"


app = create_app(router)'''


def test_a_change_is_served_and_a_mistake_shows_its_line_and_is_mended(copy: WorkingCopy) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/health"
    with typed(
        "make", "dev", folder=copy.root, environment=copy.environment(PORT=str(port))
    ) as dev:
        dev.wait_for("Ctrl-C")
        assert answer(url) == {"status": "ok"}
        assert answer(f"{url}/hello") == {"detail": "Not found."}

        copy.replace("api/health.py", "app = create_app(router)", ROUTE)
        await_answer(f"{url}/hello", "hello", dev)

        copy.replace("api/health.py", 'return "hello"', 'return "hello')
        said = dev.wait_for("Changed: reloading", after=dev.wait_for("Changed: reloading"))
        mistake = (copy.root / "api/health.py").read_text().splitlines().index('    return "hello')
        dev.wait_for(f'health.py", line {mistake + 1}', after=said)
        dev.wait_for("SyntaxError", after=said)
        dev.wait_for("it starts again when the code changes", after=said)

        copy.replace("api/health.py", 'return "hello', 'return "hello again"')
        await_answer(f"{url}/hello", "hello again", dev)


def answer(url: str) -> object:
    try:
        with urllib.request.urlopen(url) as response:  # noqa: S310 - of this test
            return json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def await_answer(url: str, wanted: object, dev: Terminal) -> None:
    until = time.monotonic() + PATIENCE
    got: object = None
    while time.monotonic() < until:
        try:
            got = answer(url)
        except urllib.error.URLError as error:
            got = error
        if got == wanted:
            return
        time.sleep(0.1)
    raise AssertionError(f"{url} answers {got!r}:\n" + "\n".join(dev.lines))
