"""The smoke test of a working API: every step succeeds, and no task remains."""

import json
import threading
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from lib.schemas import TaskCreate
from lib.smoke.report import SmokeReport, SmokeStep
from lib.smoke.run import FIELDS, STEPS, TITLE, run_smoke_test
from tests.conftest import SECRET, bearer
from tests.integrations.smoke.breaking_proxy import Reply, Request, breaking
from tests.integrations.smoke.conftest import PATIENT, Rows, Serve, settings_for
from tests.support.certificate import write_certificate


def assert_success(report: SmokeReport) -> None:
    assert report.failed == [], report.detail
    assert report.ok
    assert [step.name for step in report.steps] == list(STEPS)
    assert {step.result for step in report.steps} == {"ok"}


def test_every_step_succeeds(base_url: str, rows: Rows) -> None:
    report = run_smoke_test(settings_for(base_url), limits=PATIENT)
    assert_success(report)
    assert rows.count() == 0
    different = [step.actual for step in report.steps if step.actual != step.expected]
    assert different in (["204"], ["200"])  # the preflight, which expects 2xx
    assert all(step.milliseconds > 0 for step in report.steps)


def test_every_field_that_a_client_may_write_is_tested() -> None:
    # The title is made for each run, and a step of its own sets the completion.
    assert {"title", "completed", *FIELDS} == set(TaskCreate.model_fields)


def test_one_connection_serves_the_whole_run(base_url: str, rows: Rows) -> None:
    with breaking(base_url, lambda request, forward: forward(request)) as proxy:
        report = run_smoke_test(settings_for(proxy.url), limits=PATIENT)
    assert_success(report)
    assert proxy.connections == 1
    ids = [request.headers["x-request-id"] for request in proxy.requests]
    assert all(name.startswith(f"smoke-{report.run}-") for name in ids)
    assert f"smoke-{report.run}-others-list" in ids


def test_progress_is_called_at_the_start_and_end_of_each_step(base_url: str) -> None:
    calls: list[tuple[str, SmokeStep | None]] = []
    report = run_smoke_test(
        settings_for(base_url),
        limits=PATIENT,
        progress=lambda name, step: calls.append((name, step)),
    )
    assert calls == [
        pair for step in report.steps for pair in ((step.name, None), (step.name, step))
    ]


def test_leftovers_of_earlier_runs_are_deleted_and_no_other_tasks(
    base_url: str, rows: Rows
) -> None:
    for number in range(3):
        rows.add(f"{TITLE}abcdef{number}", minutes=3)
    rows.add(f"{TITLE}of a run in progress", minutes=1)
    rows.add("A task of the user's own", minutes=999)
    report = run_smoke_test(settings_for(base_url), limits=PATIENT)
    assert_success(report)
    assert report.steps[-1].note == "deleted 3"
    assert rows.titles() == ["A task of the user's own", f"{TITLE}of a run in progress"]


def test_concurrent_runs_do_not_disturb_each_other(base_url: str, rows: Rows) -> None:
    reports: list[SmokeReport] = []
    run = lambda: reports.append(run_smoke_test(settings_for(base_url), limits=PATIENT))  # noqa: E731
    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == 3
    for report in reports:
        assert_success(report)
    assert rows.count() == 0


def test_the_cors_steps_are_not_tried_without_an_origin(base_url: str) -> None:
    settings = settings_for(base_url).model_copy(update={"CORS_ORIGINS": []})
    report = run_smoke_test(settings, limits=PATIENT)
    assert report.ok
    not_tried = {step.name: step.note for step in report.steps if step.result == "not tried"}
    assert not_tried == dict.fromkeys(("preflight", "cross-origin"), "CORS_ORIGINS is not set")


def test_signed_tokens_are_accepted_by_a_strict_deployment(serve: Serve) -> None:
    strict = {
        "JWT_ISSUER": "https://app.example",
        "JWT_AUDIENCE": "todo-api",
        "JWT_MAX_LIFETIME": "120",
    }
    url = serve(**strict)
    assert_success(run_smoke_test(settings_for(url, **strict), limits=PATIENT))
    assert run_smoke_test(settings_for(url), limits=PATIENT).failed[0] == "create"


def test_a_deployment_without_provisioning_needs_the_users_row(serve: Serve, rows: Rows) -> None:
    rows.add("x")  # creates the user too
    rows.clear()
    url = serve(PROVISION_USERS="false")
    assert_success(run_smoke_test(settings_for(url), limits=PATIENT))


def tokens_of_eddsa(key: Ed25519PrivateKey) -> dict[str, str]:
    expiry = int(time.time()) + 300
    return {
        user: jwt.encode({"sub": user, "exp": expiry}, key, "EdDSA", headers={"kid": "k"})
        for user in ("smoke one", "smoke two")
    }


def test_an_asymmetric_deployment_is_tested_with_provided_tokens(serve: Serve) -> None:
    key = Ed25519PrivateKey.generate()
    jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    keys = json.dumps({"keys": [{**jwk, "kid": "k", "alg": "EdDSA"}]})
    asymmetric = {"JWT_ALGORITHM": "EdDSA", "JWKS": keys}
    url = serve(**asymmetric)
    mine, others = tokens_of_eddsa(key).values()

    report = run_smoke_test(settings_for(url, **asymmetric), limits=PATIENT)
    assert report.failed == ["setup"]
    assert "EdDSA tokens cannot be signed here: set SMOKE_TOKEN" in report.detail

    provided = asymmetric | {"SMOKE_TOKEN": mine, "SMOKE_OTHER_TOKEN": others}
    report = run_smoke_test(settings_for(url, **provided), limits=PATIENT)
    assert_success(report)
    assert report.steps[0].note == "tokens provided by SMOKE_TOKEN and SMOKE_OTHER_TOKEN"

    def token_endpoint(request: Request, _: object) -> Reply:
        known = {"Bearer session-1": mine, "Bearer session-2": others}
        token = known.get(request.headers.get("authorization", ""))
        if request.path != "/api/auth/token" or token is None:
            return Reply(401, {}, b"")
        return Reply(
            200, {"content-type": "application/json"}, json.dumps({"token": token}).encode()
        )

    with breaking(url, token_endpoint) as frontend:
        fetched = asymmetric | {"SMOKE_TOKEN_URL": f"{frontend.url}/api/auth/token"}
        sessions = {"SMOKE_TOKEN": "session-1", "SMOKE_OTHER_TOKEN": "session-2"}
        report = run_smoke_test(settings_for(url, **fetched, **sessions), limits=PATIENT)
        assert_success(report)
        assert report.steps[0].note.startswith("tokens fetched from 127.0.0.1:")
        assert not any("x-vercel-protection-bypass" in r.headers for r in frontend.requests)
        ended = sessions | {"SMOKE_TOKEN": "session-0"}
        report = run_smoke_test(settings_for(url, **fetched, **ended), limits=PATIENT)
        assert report.failed == ["setup"]
        assert "has the session ended?" in report.detail


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"SMOKE_BASE_URL": None}, "SMOKE_BASE_URL is not set"),
        (
            {"BETTER_AUTH_SECRET": None},
            "no tokens: set BETTER_AUTH_SECRET, or SMOKE_TOKEN and SMOKE_OTHER_TOKEN",
        ),
        ({"SMOKE_TOKEN": "x"}, "set both SMOKE_TOKEN and SMOKE_OTHER_TOKEN, or neither"),
        ({"SMOKE_TOKEN": "x", "SMOKE_OTHER_TOKEN": "y"}, "a token is not a JSON Web Token"),
    ],
)
def test_a_missing_variable_is_a_failed_setup_that_names_it(
    closed_url: str, variables: dict[str, str | None], sentence: str
) -> None:
    report = run_smoke_test(settings_for(closed_url, **variables), limits=PATIENT)
    assert report.failed == ["setup"]
    assert sentence in report.detail


def test_two_tokens_of_one_user_are_rejected(closed_url: str) -> None:
    token = bearer("one")["Authorization"].removeprefix("Bearer ")
    report = run_smoke_test(
        settings_for(closed_url, SMOKE_TOKEN=token, SMOKE_OTHER_TOKEN=token), limits=PATIENT
    )
    assert "both tokens belong to one user" in report.detail


def test_a_deployment_on_vercel_tests_its_own_url_over_tls(serve: Serve, tmp_path: Path) -> None:
    certificate = write_certificate(tmp_path)
    url = serve(certificate)
    variables = {"SMOKE_BASE_URL": None, "VERCEL_URL": url.removeprefix("https://")}
    trusting = variables | {"SSL_CERT_FILE": str(certificate.ca)}
    assert_success(run_smoke_test(settings_for(url, **trusting), limits=PATIENT))
    report = run_smoke_test(settings_for(url, **variables), limits=PATIENT)
    assert report.failed == ["liveness"]
    assert "TLS failed: CERTIFICATE_VERIFY_FAILED" in report.detail


def test_the_bypass_secret_is_sent_with_every_request(base_url: str) -> None:
    with breaking(base_url, lambda request, forward: forward(request)) as proxy:
        settings = settings_for(proxy.url, VERCEL_AUTOMATION_BYPASS_SECRET="let-me-through")
        assert_success(run_smoke_test(settings, limits=PATIENT))
    sent = {request.headers.get("x-vercel-protection-bypass") for request in proxy.requests}
    assert sent == {"let-me-through"}


def test_a_report_contains_no_secret(base_url: str) -> None:
    settings = settings_for(base_url, VERCEL_AUTOMATION_BYPASS_SECRET="let-me-through")
    text = repr(run_smoke_test(settings, limits=PATIENT))
    assert SECRET not in text
    assert "let-me-through" not in text
    assert "eyJ" not in text
