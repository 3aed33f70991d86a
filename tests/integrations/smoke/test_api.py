"""GET /api/smoke: only with the cron secret, one run at a time, reports shared for 30 seconds."""

import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2
import pytest

from api import smoke
from tests.conftest import SECRET, bearer
from tests.integrations.smoke.breaking_proxy import Forward, Proxy, Reply, Request, breaking
from tests.integrations.smoke.conftest import ORIGIN, Rows, Serve

CRON_SECRET = "cron-secret-0123456789"
CRON = {"Authorization": f"Bearer {CRON_SECRET}"}


@contextmanager
def api_with_smoke_test(serve: Serve, url: str = "{self}") -> Generator[httpx2.Client]:
    own = serve(CRON_SECRET=CRON_SECRET, SMOKE_BASE_URL=url)
    with httpx2.Client(base_url=own, timeout=40) as client:
        yield client


def unchanged(request: Request, forward: Forward) -> Reply:
    return forward(request)


def liveness_checks(proxy: Proxy) -> int:
    return sum(request.path == "/api/health" for request in proxy.requests)


def test_a_deployment_tests_itself_and_serves_its_own_requests(serve: Serve, rows: Rows) -> None:
    with api_with_smoke_test(serve) as client:
        response = client.get("/api/smoke", headers=CRON)
    assert response.status_code == 200, response.text
    report = response.json()
    assert report["ok"] is True
    assert report["failed"] == []
    assert report["detail"] == "All steps succeeded."
    assert {step["result"] for step in report["steps"]} == {"ok"}
    assert response.headers["cache-control"] == "no-store"
    assert rows.count() == 0


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", CRON_SECRET)],
        [("Authorization", f"Basic {CRON_SECRET}")],
        [("Authorization", f"Bearer {CRON_SECRET}x")],
        [("Authorization", f"Bearer {CRON_SECRET[:-1]}")],
        [("Authorization", f"Bearer {CRON_SECRET.upper()}")],
        [("Authorization", f"Bearer {SECRET}")],
        [("Authorization", "Bearer über-secret-0123456789".encode("latin-1"))],
        [("Authorization", f"Bearer {CRON_SECRET}"), ("Authorization", "Bearer x")],
        [("X-Cron-Secret", CRON_SECRET)],
        list(bearer("smoke", exp=4_000_000_000).items()),
    ],
)
def test_a_request_without_the_secret_is_401_and_starts_no_run(
    serve: Serve, closed_url: str, headers: list[tuple[str, str]]
) -> None:
    with api_with_smoke_test(serve, closed_url) as client:
        response = client.get("/api/smoke", headers=[*headers, ("Origin", ORIGIN)])
    assert response.status_code == 401
    assert response.json() == {"detail": "The cron secret is required."}
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert smoke._latest is None


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer None"])
def test_a_deployment_without_a_secret_rejects_every_request(
    serve: Serve, authorization: str
) -> None:
    response = httpx2.get(f"{serve()}/api/smoke", headers={"Authorization": authorization})
    assert response.status_code == 401
    assert smoke._latest is None


def test_the_scheme_is_case_insensitive(serve: Serve, closed_url: str) -> None:
    with api_with_smoke_test(serve, closed_url) as client:
        headers = {"Authorization": f"bearer {CRON_SECRET}"}
        assert client.get("/api/smoke/", headers=headers).status_code == 503


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_405(serve: Serve, closed_url: str, method: str) -> None:
    with api_with_smoke_test(serve, closed_url) as client:
        response = client.request(method, "/api/smoke", headers=CRON)
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
    assert smoke._latest is None


def test_a_failure_is_503_with_the_report(serve: Serve, closed_url: str) -> None:
    with api_with_smoke_test(serve, closed_url) as client:
        response = client.get("/api/smoke", headers=CRON)
    assert response.status_code == 503
    report = response.json()
    assert report["failed"] == ["liveness"]
    assert report["detail"].startswith("The step 'liveness' failed: expected 200, got -: ")
    assert 1 <= int(response.headers["retry-after"]) <= smoke.MIN_INTERVAL


def test_a_report_is_shared_for_30_seconds(
    serve: Serve, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with breaking(base_url, unchanged) as proxy, api_with_smoke_test(serve, proxy.url) as client:
        runs = [client.get("/api/smoke", headers=CRON).json()["run"] for _ in range(3)]
        assert len(set(runs)) == 1
        assert liveness_checks(proxy) == 1
        run, started = smoke._latest or (None, 0)
        monkeypatch.setattr(smoke, "_latest", (run, started - smoke.MIN_INTERVAL))
        assert client.get("/api/smoke", headers=CRON).json()["run"] != runs[0]
        assert liveness_checks(proxy) == 2


def test_concurrent_requests_share_one_run(
    serve: Serve, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_liveness(request: Request, forward: Forward) -> Reply:
        if request.path == "/api/health":
            time.sleep(1)
        return forward(request)

    monkeypatch.setattr(smoke, "MIN_INTERVAL", 0)
    with (
        breaking(base_url, slow_liveness) as proxy,
        api_with_smoke_test(serve, proxy.url) as client,
    ):
        with ThreadPoolExecutor(8) as pool:
            responses = list(
                pool.map(lambda _: client.get("/api/smoke", headers=CRON).json(), range(8))
            )
        assert {response["ok"] for response in responses} == {True}
        assert len({response["run"] for response in responses}) == 1
        assert liveness_checks(proxy) == 1


def test_a_run_continues_if_its_client_disconnects(serve: Serve, base_url: str) -> None:
    def slow_liveness(request: Request, forward: Forward) -> Reply:
        if request.path == "/api/health":
            time.sleep(1)
        return forward(request)

    with (
        breaking(base_url, slow_liveness) as proxy,
        api_with_smoke_test(serve, proxy.url) as client,
    ):
        with pytest.raises(httpx2.ReadTimeout):
            client.get("/api/smoke", headers=CRON, timeout=0.3)
        assert client.get("/api/smoke", headers=CRON).json()["ok"] is True
        assert liveness_checks(proxy) == 1
