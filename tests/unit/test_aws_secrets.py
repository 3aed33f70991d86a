"""Secrets that AWS stores: found, missing, denied, slow, and rotated in a warm process.

boto3 is imported only for them.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Generator

import boto3
import pytest
import time_machine
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from lib.settings import SECRET_LIFETIME, Settings, SettingsError, load_settings
from lib.settings.aws_secrets import SecretUnavailable, read_parameter
from lib.settings.environment import RETRY_INTERVAL

FIRST, SECOND = "the-first-secret-0123456789abcdef", "the-second-secret-0123456789abcde"
REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    for name, value in {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield


def put_parameter(value: str, name: str = "/tasks/secret") -> None:
    boto3.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)


@pytest.fixture
def parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    put_parameter(FIRST)
    monkeypatch.setenv("BETTER_AUTH_SECRET_PARAMETER", "/tasks/secret")


@pytest.mark.usefixtures("parameter")
def test_a_parameter_is_decrypted_and_used() -> None:
    assert load_settings().BETTER_AUTH_SECRET == FIRST


def test_a_secret_of_secrets_manager_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = boto3.client("secretsmanager").create_secret(Name="s", SecretString=FIRST)["ARN"]
    monkeypatch.setenv("BETTER_AUTH_SECRET_SECRET_ARN", arn)
    assert load_settings().BETTER_AUTH_SECRET == FIRST


@pytest.mark.parametrize("suffix", ["PARAMETER", "SECRET_ARN"])
def test_a_missing_secret_is_one_sentence_that_names_it(
    monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setenv(f"CRON_SECRET_{suffix}", "/nowhere")
    sentence = rf"^CRON_SECRET_{suffix}: the .* /nowhere cannot be read: .+[^.]\.$"
    with pytest.raises(SettingsError, match=sentence):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        ("AWS_DEFAULT_REGION", "You must specify a region"),
        ("AWS_ACCESS_KEY_ID", "Unable to locate credentials"),
    ],
)
def test_a_missing_region_or_login_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, reason: str
) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("CRON_SECRET_PARAMETER", "/tasks/cron")
    monkeypatch.delenv(variable)
    sentence = f"CRON_SECRET_PARAMETER: the SSM parameter /tasks/cron cannot be read: {reason}."
    with pytest.raises(SettingsError, match=f"^{re.escape(sentence)}$"):
        load_settings()


@pytest.mark.usefixtures("parameter")
def test_a_denied_secret_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("iam").create_user(UserName="nobody")
    key = boto3.client("iam").create_access_key(UserName="nobody")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

    @set_initial_no_auth_action_count(0)
    def load_as_nobody() -> None:
        with pytest.raises(SettingsError) as refused:
            load_settings()
        [sentence] = str(refused.value).splitlines()
        assert sentence.startswith(
            "BETTER_AUTH_SECRET_PARAMETER: the SSM parameter /tasks/secret cannot be read: "
        )
        assert "is not authorized to perform: ssm:GetParameter" in sentence

    load_as_nobody()


@pytest.mark.usefixtures("parameter")
def test_a_rotated_secret_is_read_after_its_lifetime_and_not_before() -> None:
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        assert load_settings().BETTER_AUTH_SECRET == FIRST
        put_parameter(SECOND)
        clock.shift(SECRET_LIFETIME - 1)
        assert load_settings().BETTER_AUTH_SECRET == FIRST
        clock.shift(2)
        assert load_settings().BETTER_AUTH_SECRET == SECOND


def fresh_settings() -> Settings:
    """The settings of a function that starts now, beside this warm one."""
    names = ("BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS")
    return Settings.model_validate(
        {name: read_parameter(os.environ[f"{name}_PARAMETER"]) for name in names}
    )


@pytest.mark.usefixtures("parameter")
def test_a_rotation_as_documented_refuses_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/aws.md: secrets that were read just before a step accept the tokens issued after it."""
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        put_parameter(FIRST, "/tasks/secret-previous")
        monkeypatch.setenv("BETTER_AUTH_SECRET_PREVIOUS_PARAMETER", "/tasks/secret-previous")
        just_before = load_settings().shared_secrets
        put_parameter(SECOND)
        assert FIRST in just_before
        assert FIRST in fresh_settings().shared_secrets
        clock.shift(SECRET_LIFETIME + 1)
        # Every function has read both by now: the frontend may change.
        assert load_settings().shared_secrets == [SECOND, FIRST]


@pytest.mark.usefixtures("parameter")
def test_while_aws_does_not_respond_the_last_value_stays_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with time_machine.travel(1_800_000_000, tick=True) as clock, socket.socket() as silent:
        assert load_settings().BETTER_AUTH_SECRET == FIRST
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL_SSM", f"http://127.0.0.1:{silent.getsockname()[1]}")
        clock.shift(SECRET_LIFETIME + 1)
        with pytest.raises(SecretUnavailable):
            read_parameter("/tasks/secret")
        assert load_settings().BETTER_AUTH_SECRET == FIRST


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.usefixtures("parameter")
def test_a_failed_read_is_a_warning_and_is_repeated_soon(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        assert load_settings().BETTER_AUTH_SECRET == FIRST
        boto3.client("ssm").delete_parameter(Name="/tasks/secret")
        clock.shift(SECRET_LIFETIME + 1)
        for attempt in (1, 2):
            for _ in range(3):
                assert load_settings().BETTER_AUTH_SECRET == FIRST
            assert warnings_of(caplog) == attempt * [
                "Secrets could not be read again. The previous values stay in use."
                " BETTER_AUTH_SECRET_PARAMETER: the SSM parameter /tasks/secret cannot be read:"
                " An error occurred (ParameterNotFound) when calling the GetParameter operation:"
                " Parameter /tasks/secret not found."
            ]
            clock.shift(RETRY_INTERVAL + 1)
        put_parameter(SECOND)
        assert load_settings().BETTER_AUTH_SECRET == SECOND
        assert len(warnings_of(caplog)) == 2
        clock.shift(RETRY_INTERVAL + 1)
        put_parameter(FIRST)
        assert load_settings().BETTER_AUTH_SECRET == SECOND, "its lifetime is as usual again"


@pytest.mark.usefixtures("parameter")
@pytest.mark.parametrize("rotated", ["too-short", f"{SECOND}\n", f'"{SECOND}"'])
def test_a_secret_that_is_rotated_to_an_unusable_value_is_a_warning_without_it(
    rotated: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    with time_machine.travel(1_800_000_000, tick=False) as clock:
        assert load_settings().BETTER_AUTH_SECRET == FIRST
        put_parameter(rotated)
        clock.shift(SECRET_LIFETIME + 1)
        assert load_settings().BETTER_AUTH_SECRET == FIRST
    [warning] = warnings_of(caplog)
    assert "BETTER_AUTH_SECRET" in warning
    assert rotated.strip('"\n') not in warning


def test_boto3_is_imported_only_where_a_variable_names_a_secret_of_aws() -> None:
    program = """
import json, sys
from lib.settings import SettingsError, load_settings
try:
    load_settings()
except SettingsError:
    pass
print(json.dumps("boto3" in sys.modules))
"""
    imported = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONPATH": ".", "AWS_EC2_METADATA_DISABLED": "true", **variables},
                capture_output=True,
                check=True,
            ).stdout
        )
        for variables in ({}, {"BETTER_AUTH_SECRET_PARAMETER": "/tasks/secret"})
    ]
    assert imported == [False, True]
