"""Settings: what works, and one sentence for each thing that does not."""

import re
from pathlib import Path

import pytest

from lib.settings import EXAMPLE_SECRET, SECRETS, Settings, SettingsError, read_settings

LONG = "0123456789abcdef0123456789abcdef"
ON_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
KEYS = '{"keys": [{"kty": "OKP"}]}'
EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_form_of_a_postgres_url_is_accepted(scheme: str) -> None:
    settings = read_settings({"DATABASE_URL": f"{scheme}://u:p@host/db?sslmode=require"})
    assert settings.DATABASE_URL == "postgresql://u:p@host/db?sslmode=require"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DATABASE_URL": "mysql://u:p@host/db"}, "DATABASE_URL: must be a postgresql:// URL."),
        ({"JWT_ALGORITHM": "none"}, "JWT_ALGORITHM: Input should be"),
        ({"JWT_ALGORITHM": "EdDSA"}, "JWT_ALGORITHM EdDSA needs JWKS_URL or JWKS"),
        (
            {"JWT_ALGORITHM": "EdDSA", "JWKS": KEYS, "JWKS_URL": "https://a.example/jwks"},
            "needs JWKS_URL or JWKS, one of them",
        ),
        ({"JWKS_URL": "https://a.example/jwks"}, "JWT_ALGORITHM is HS256, which uses no key set"),
        ({"JWT_ALGORITHM": "EdDSA", "JWKS": "{}"}, "JWKS: must be a JSON Web Key Set"),
        ({"JWT_ALGORITHM": "EdDSA", "JWKS_URL": "ftp://a.example"}, "JWKS_URL: "),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS: holds '*', which is no exact origin"),
        ({"CORS_ORIGINS": "https://a.example/path"}, "CORS_ORIGINS: holds"),
        ({"CORS_PREVIEW_ORIGIN": "https://*.vercel.app"}, "CORS_PREVIEW_ORIGIN: must look like"),
        ({"CORS_PREVIEW_ORIGIN": "https://a-*.vercel.app"}, "CORS_PREVIEW_ORIGIN: must look like"),
        (
            {
                "VERCEL": "1",
                "VERCEL_ENV": "production",
                "CORS_PREVIEW_ORIGIN": "https://a-*-b.vercel.app",
            },
            "CORS_PREVIEW_ORIGIN is for previews: unset it in production.",
        ),
        ({"PROVISION_USERS": "perhaps"}, "PROVISION_USERS: must be true or false."),
        ({"SMOKE_BASE_URL": "127.0.0.1:8000"}, "SMOKE_BASE_URL: must be a URL that begins with"),
        ({"SMOKE_BASE_URL": "https://a.example/?b"}, "must be a URL without ? and #"),
        ({"JWKS_URL": "a.example/jwks"}, "JWKS_URL: must be a URL that begins with http"),
        ({"CRON_SECRET": "short"}, "CRON_SECRET: "),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL: "),
        (
            ON_LAMBDA | {"JWT_ALGORITHM": "EdDSA", "JWKS_URL": "http://a.example/jwks"},
            "JWKS_URL must be https",
        ),
        (ON_LAMBDA | {"BETTER_AUTH_SECRET": "short"}, "BETTER_AUTH_SECRET must have at least 32"),
        (ON_LAMBDA | {"BETTER_AUTH_SECRET": EXAMPLE_SECRET}, "BETTER_AUTH_SECRET is the example"),
        ({"VERCEL": "1", "BETTER_AUTH_SECRET": EXAMPLE_SECRET}, "is the example secret"),
        (
            ON_LAMBDA | {"BETTER_AUTH_SECRET": LONG, "BETTER_AUTH_SECRET_PREVIOUS": "x"},
            "BETTER_AUTH_SECRET_PREVIOUS must have at least 32 bytes",
        ),
    ],
)
def test_a_fault_is_one_sentence_that_names_its_variable(
    environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(sentence)) as refused:
        read_settings(environment)
    assert len(str(refused.value).splitlines()) == 1


def test_two_faults_are_two_sentences() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"LOG_LEVEL": "LOUD", "CORS_ORIGINS": "*"})
    assert len(str(refused.value).splitlines()) == 2


def test_no_fault_repeats_a_secret() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(ON_LAMBDA | {"BETTER_AUTH_SECRET": "hunter2", "DATABASE_URL": "my:hunter2@x"})
    assert "hunter2" not in str(refused.value)


def test_settings_never_show_their_secrets() -> None:
    settings = read_settings(
        {"BETTER_AUTH_SECRET": LONG, "DATABASE_URL": f"postgres://u:{LONG}@h/d"}
    )
    assert LONG not in repr(settings)


def test_empty_values_count_as_unset() -> None:
    assert read_settings({"JWKS_URL": "", "DATABASE_URL": " "}) == read_settings({})


def test_the_local_origin_is_for_local_use_only() -> None:
    assert read_settings({}).CORS_ORIGINS == ["http://localhost:3000"]
    assert read_settings(ON_LAMBDA).CORS_ORIGINS == []


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shop-a1b2c3d4e-acme.vercel.app", True),
        ("https://shop-a1b2c3d4e-evil-acme.vercel.app", False),
        ("https://shop-a1-b2-acme.vercel.app", False),
        ("https://evil-shop-a1b2c3d4e-acme.vercel.app", False),
        ("https://shop-a1b2c3d4e-acme.vercel.app.evil.example", False),
        ("http://shop-a1b2c3d4e-acme.vercel.app", False),
    ],
)
def test_a_preview_pattern_admits_no_foreign_origin(origin: str, allowed: bool) -> None:
    pattern = read_settings(
        {"CORS_PREVIEW_ORIGIN": "https://shop-*-acme.vercel.app"}
    ).CORS_PREVIEW_ORIGIN
    assert pattern is not None
    assert bool(re.fullmatch(pattern, origin)) == allowed


def test_the_example_environment_names_every_variable_and_works() -> None:
    text = EXAMPLE.read_text()
    named = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    of_platforms = {"VERCEL", "VERCEL_ENV", "VERCEL_URL", "AWS_LAMBDA_RUNTIME_API"}
    assert named == set(Settings.model_fields) - of_platforms
    assert set(SECRETS) <= named
    active = dict(re.findall(r"^([A-Z_]+)=(.+)$", text, re.MULTILINE))
    assert read_settings(active).BETTER_AUTH_SECRET == EXAMPLE_SECRET


def test_what_the_example_comments_out_would_work_too() -> None:
    found = re.findall(r"^#([A-Z_]+)=(.+)$", EXAMPLE.read_text(), re.MULTILINE)
    optional = {name: value for name, value in found if name != "JWKS"}
    assert read_settings({**optional, "JWT_ALGORITHM": "EdDSA"}).JWT_AUDIENCE == "todo-api"
    static = dict(found)["JWKS"]
    assert static == read_settings({"JWKS": static, "JWT_ALGORITHM": "EdDSA"}).JWKS
