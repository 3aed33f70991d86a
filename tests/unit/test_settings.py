"""Settings: which environments are accepted, and the message for each invalid variable."""

import re
from pathlib import Path

import pytest

from lib.settings import (
    EXAMPLE_SECRET,
    SECRETS,
    Settings,
    SettingsError,
    read_settings,
    require,
)
from lib.settings.database_url import parse_database_url
from lib.settings.settings import PLATFORM_VARIABLES

LONG = "0123456789abcdef0123456789abcdef"
ON_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}
KEYS = '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": "A"}]}'
REMOTE = {"DATABASE_URL": "postgresql://u:p@db.example/app"}
# Every way in which this process may be a deployment.
DEPLOYMENTS = {
    "remote database": REMOTE,
    "remote address": {"DATABASE_URL": "postgresql://u:p@10.0.0.7/app"},
    "remote hostaddr": {"DATABASE_URL": "postgresql://u:p@localhost/app?hostaddr=10.0.0.7"},
    "remote host option": {"DATABASE_URL": "postgresql://u:p@localhost/app?host=db.example"},
    "service file": {"DATABASE_URL": "postgresql:///app?service=production"},
    "container": {"DATABASE_URL": "postgresql://u:p@db/app"},
    **{name: {name: "1"} for name in PLATFORM_VARIABLES},
    "local database on Lambda": ON_LAMBDA | {"DATABASE_URL": "postgresql://u:p@127.0.0.1/app"},
    "sidecar in Kubernetes": {
        "DATABASE_URL": "postgresql://u:p@127.0.0.1/app",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
    },
    "remote direct URL": {
        "DATABASE_URL": "postgresql://u:p@127.0.0.1/app",
        "DATABASE_URL_UNPOOLED": "postgresql://u:p@db.example/app",
    },
    "remote direct URL alone": {"DATABASE_URL_UNPOOLED": "postgresql://u:p@db.example/app"},
}
LOCAL_USE = {
    "no database": {},
    "loopback": {"DATABASE_URL": "postgresql://u:p@127.0.0.1:5432/app"},
    "IPv6 loopback": {"DATABASE_URL": "postgresql://u:p@[::1]/app"},
    "localhost": {"DATABASE_URL": "postgresql://u:p@LocalHost/app"},
    "socket": {"DATABASE_URL": "postgresql://%2Fvar%2Frun%2Fpostgresql/app"},
    "socket option": {"DATABASE_URL": "postgresql:///app?host=/var/run/postgresql"},
    "emulator": {"AWS_LAMBDA_FUNCTION_NAME": "tasks"},
    "local direct URL": {
        "DATABASE_URL": "postgresql://u:p@127.0.0.1/app",
        "DATABASE_URL_UNPOOLED": "postgresql://u:p@localhost/app",
    },
    "local PGHOST": {"DATABASE_URL": "postgresql:///app", "PGHOST": "/var/run/postgresql"},
    "PGHOST beside a host": {"DATABASE_URL": "postgresql://localhost/app", "PGHOST": "db.example"},
}
EXAMPLE = Path(__file__).parents[2] / ".env.example"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_form_of_a_postgres_url_is_accepted(scheme: str) -> None:
    settings = read_settings({"DATABASE_URL": f"{scheme}://u:p@host/db?sslmode=require"})
    assert settings.DATABASE_URL == "postgresql://u:p@host/db?sslmode=require"


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"DATABASE_URL": "mysql://u:p@host/db"}, "DATABASE_URL: must be a postgresql:// URL."),
        ({"JWT_ALGORITHM": "none"}, "JWT_ALGORITHM: must be HS256, EdDSA, ES256 or RS256."),
        ({"JWT_ALGORITHM": "EdDSA"}, "JWT_ALGORITHM EdDSA needs either JWKS_URL or JWKS."),
        (
            {"JWT_ALGORITHM": "EdDSA", "JWKS": KEYS, "JWKS_URL": "https://a.example/jwks"},
            "needs either JWKS_URL or JWKS.",
        ),
        ({"JWKS_URL": "https://a.example/jwks"}, "JWT_ALGORITHM is HS256, which uses no key set"),
        ({"JWT_ALGORITHM": "EdDSA", "JWKS": "{}"}, "JWKS: must be a JSON Web Key Set"),
        ({"JWT_ALGORITHM": "EdDSA", "JWKS_URL": "ftp://a.example"}, "JWKS_URL: "),
        (
            {"CORS_ORIGINS": "*"},
            "CORS_ORIGINS: entry 1 is not an exact origin like https://app.example.com.",
        ),
        ({"CORS_ORIGINS": "https://a.example, https://b.example/path"}, "CORS_ORIGINS: entry 2 is"),
        ({"CORS_PREVIEW_ORIGIN": "https://*.vercel.app"}, "CORS_PREVIEW_ORIGIN: must look like"),
        ({"CORS_PREVIEW_ORIGIN": "https://a-*.vercel.app"}, "CORS_PREVIEW_ORIGIN: must look like"),
        ({"PROVISION_USERS": "perhaps"}, "PROVISION_USERS: must be true or false."),
        ({"SMOKE_BASE_URL": "127.0.0.1:8000"}, "SMOKE_BASE_URL: must be a URL that begins with"),
        ({"SMOKE_BASE_URL": "https://a.example/?b"}, "must be a URL without ? and #"),
        ({"JWKS_URL": "a.example/jwks"}, "JWKS_URL: must be a URL that begins with http"),
        ({"CRON_SECRET": "short"}, "CRON_SECRET: must have at least 16 characters."),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL: must be DEBUG, INFO, WARNING, ERROR or CRITICAL."),
        ({"SSL_CERT_FILE": "/nowhere/bundle.pem"}, "SSL_CERT_FILE: must be the path of a file."),
        (
            {"JWT_ALGORITHM": "ES256", "JWKS": KEYS},
            "JWKS is unusable, it has no public signing key for ES256: set JWT_ALGORITHM=EdDSA.",
        ),
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


@pytest.mark.parametrize("name", ["JWKS_URL", "SMOKE_BASE_URL", "SMOKE_TOKEN_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:99999/port",
        "http://127.0.0.1:port/port",
        "http://127.0.0.1:0/port",
        "http://[::1/bracket",
        "http://127.0.0.1:1/\u00fc",
        "http:///no-host",
        "http://user:hunter2@a.example/",
        "http://a.example/white space",
    ],
)
def test_an_invalid_url_stops_the_start(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(
            {name: url, "JWT_ALGORITHM": "EdDSA", "JWKS_URL": "https://a.example"} | {name: url}
        )
    assert str(refused.value) == (
        f"{name}: must be a URL that begins with http:// or https:// and has a valid host and port."
    )


# Authorization of MCP

RESOURCE, SERVER = "https://api.example/api/mcp", "https://app.example"
OAUTH = {"MCP_RESOURCE": RESOURCE, "MCP_AUTHORIZATION_SERVER": SERVER}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (RESOURCE, RESOURCE),
        ("HTTPS://API.Example:443/api/mcp", RESOURCE),
        ("http://127.0.0.1:8000/api/mcp", "http://127.0.0.1:8000/api/mcp"),
        ("http://localhost:80/api/mcp", "http://localhost/api/mcp"),
        ("https://[2001:DB8::0:1]/api/mcp", "https://[2001:db8::1]/api/mcp"),
    ],
)
def test_the_resource_of_mcp_is_normalised_as_clients_do(value: str, expected: str) -> None:
    assert expected == read_settings(OAUTH | {"MCP_RESOURCE": value}).MCP_RESOURCE


@pytest.mark.parametrize(
    "value",
    [
        "https://api.example",
        "https://api.example/",
        "https://api.example/mcp",
        "https://api.example/api/mcp/",
        "https://api.example/API/mcp",
        "https://api.example/api/mcp?a=1",
        "https://api.example/api/mcp#a",
        "https://api.example/v1/api/mcp",
        "https://user:hunter2@api.example/api/mcp",
        "https:///api/mcp",
        "https://api.example:99999/api/mcp",
        "https://api example/api/mcp",
        'https://api.example"/api/mcp',
        "ftp://api.example/api/mcp",
        "api.example/api/mcp",
        "/api/mcp",
    ],
)
def test_a_resource_of_mcp_that_no_client_can_mean_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(OAUTH | {"MCP_RESOURCE": value})
    assert str(refused.value) == (
        "MCP_RESOURCE: must be the URL of the MCP endpoint, like https://api.example.com/api/mcp."
    )


@pytest.mark.parametrize(
    "value", [f"{SERVER}?a=1", f"{SERVER}#a", "app.example", "ftp://a.example"]
)
def test_an_invalid_authorization_server_stops_the_start(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^MCP_AUTHORIZATION_SERVER: must be a URL "):
        read_settings(OAUTH | {"MCP_AUTHORIZATION_SERVER": value})


@pytest.mark.parametrize("value", [SERVER, f"{SERVER}/", f"{SERVER}/api/auth"])
def test_the_authorization_server_is_kept_character_by_character(value: str) -> None:
    """It is compared with the claim iss."""
    variables = OAUTH | {"MCP_AUTHORIZATION_SERVER": value}
    assert value == read_settings(variables).MCP_AUTHORIZATION_SERVER


@pytest.mark.parametrize("missing", OAUTH)
def test_half_of_the_authorization_of_mcp_stops_the_start(missing: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(OAUTH | {missing: ""})
    assert str(refused.value) == (
        f"{missing} is not set: set both MCP_RESOURCE and MCP_AUTHORIZATION_SERVER, or neither."
    )


@pytest.mark.parametrize("name", OAUTH)
def test_oauth_over_http_is_for_local_use_only(name: str) -> None:
    variables = OAUTH | {name: OAUTH[name].replace("https", "HTTP")}
    assert read_settings(variables)
    with pytest.raises(SettingsError, match=f"^{name} must be https in a deployment: [^.]*.$"):
        read_settings(REMOTE | {"BETTER_AUTH_SECRET": LONG} | variables)
    assert read_settings(REMOTE | {"BETTER_AUTH_SECRET": LONG} | OAUTH)


# Deployments and local use


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_everything_but_local_use_is_a_deployment(name: str) -> None:
    deployed = DEPLOYMENTS[name]
    settings = read_settings(deployed | {"BETTER_AUTH_SECRET": LONG})
    assert not settings.is_local
    assert settings.CORS_ORIGINS == []
    for variable in ("BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS"):
        with pytest.raises(SettingsError, match=f"^{variable} is the public example secret"):
            read_settings(deployed | {variable: EXAMPLE_SECRET})
        with pytest.raises(SettingsError, match=f"^{variable} must have at least 32 bytes"):
            read_settings(deployed | {variable: "short"})
    keys = {"JWT_ALGORITHM": "EdDSA", "JWKS_URL": "HTTP://localhost:3000/api/auth/jwks"}
    with pytest.raises(SettingsError, match="JWKS_URL must be https in a deployment"):
        read_settings(deployed | keys)
    assert read_settings(deployed | keys | {"JWKS_URL": "https://a.example/jwks"}).JWKS_URL


@pytest.mark.parametrize("name", LOCAL_USE)
def test_a_database_on_this_machine_without_a_platform_is_local_use(name: str) -> None:
    variables = {"BETTER_AUTH_SECRET": EXAMPLE_SECRET, **LOCAL_USE[name]}
    settings = read_settings(variables)
    assert settings.is_local
    assert settings.CORS_ORIGINS == ["http://localhost:3000"]
    assert read_settings(variables | {"BETTER_AUTH_SECRET": "short"}).is_local
    keys = {"JWT_ALGORITHM": "EdDSA", "JWKS_URL": "http://localhost:3000/api/auth/jwks"}
    assert keys["JWKS_URL"] == read_settings(variables | keys).JWKS_URL


@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_UNPOOLED"])
@pytest.mark.parametrize(
    ("url", "variable", "value"),
    [
        ("postgresql:///app", "PGHOST", "db.example"),
        ("postgresql://u:p@/app", "PGHOST", "10.0.0.7"),
        ("postgresql:///app", "PGHOST", "localhost,db.example"),
        ("postgresql:///app", "PGHOSTADDR", "10.0.0.7"),
        ("postgresql://u:p@localhost/app", "PGHOSTADDR", "10.0.0.7"),
        ("postgresql:///app?host=/tmp", "PGHOSTADDR", "10.0.0.7"),
        ("postgresql://u:p@127.0.0.1/app", "PGSERVICE", "production"),
    ],
)
def test_a_variable_of_libpq_cannot_turn_a_local_url_into_a_remote_database(
    name: str, url: str, variable: str, value: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({name: url, variable: value})
    assert str(refused.value) == (
        f"{variable} makes {name} lead to another machine: name the host in {name} and unset"
        f" {variable}."
    )
    remote = "postgresql://u:p@db.example/app"  # verified TLS protects this connection
    assert read_settings({name: remote, variable: value})


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "because KUBERNETES_SERVICE_HOST is set"),
        (REMOTE, "because DATABASE_URL names another machine"),
        (
            {"DATABASE_URL_UNPOOLED": REMOTE["DATABASE_URL"]},
            "because DATABASE_URL_UNPOOLED names another machine",
        ),
    ],
)
def test_a_refused_example_secret_says_why_this_is_a_deployment(
    environment: dict[str, str], reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason) as refused:
        read_settings(environment | {"BETTER_AUTH_SECRET": EXAMPLE_SECRET})
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("variables", "allowed"),
    [
        ({}, True),
        ({"VERCEL": "1", "VERCEL_ENV": "preview"}, True),
        ({"VERCEL": "1", "VERCEL_ENV": "production"}, False),
        ({"VERCEL": "1", "VERCEL_ENV": "development"}, False),
        ({"VERCEL": "1"}, False),
        (ON_LAMBDA, False),
        (REMOTE, False),
    ],
)
def test_a_preview_origin_works_in_previews_and_local_use_only(
    variables: dict[str, str], allowed: bool
) -> None:
    variables = variables | {"CORS_PREVIEW_ORIGIN": "https://a-*-b.vercel.app"}
    if allowed:
        assert read_settings(variables).CORS_PREVIEW_ORIGIN
        return
    with pytest.raises(SettingsError) as refused:
        read_settings(variables)
    assert str(refused.value) == (
        "CORS_PREVIEW_ORIGIN is for preview deployments on Vercel only: unset it here."
    )


# How variables are set


@pytest.mark.parametrize("name", ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRET_PREVIOUS"])
@pytest.mark.parametrize("secret", [f"{LONG}\n", f" {LONG}", f"{LONG}\r\n", f"{LONG}\t"])
def test_white_space_around_a_shared_secret_stops_the_start(name: str, secret: str) -> None:
    """Better Auth would use it as a part of the secret: every token would be refused."""
    with pytest.raises(SettingsError) as refused:
        read_settings({name: secret})
    assert str(refused.value).startswith(f"{name} begins or ends with white space, ")
    assert len(str(refused.value).splitlines()) == 1
    assert LONG not in str(refused.value)


def test_white_space_around_other_values_is_trimmed() -> None:
    assert read_settings({"JWT_ISSUER": " https://a.example\n"}).JWT_ISSUER == "https://a.example"


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BETTER_AUTH_SECRET", LONG),
        ("DATABASE_URL", "postgresql://u:p@127.0.0.1/app"),
        ("JWT_ISSUER", "https://a.example"),
        ("LOG_LEVEL", "INFO"),
        ("CRON_SECRET", LONG),
    ],
)
def test_a_value_in_quotes_stops_the_start(name: str, value: str, quote: str) -> None:
    """`docker run --env-file` and some platforms keep them."""
    with pytest.raises(SettingsError) as refused:
        read_settings({name: f"{quote}{value}{quote}"})
    assert str(refused.value) == QUOTED.format(name)


QUOTED = (
    "{} begins or ends with a quotation mark, which would be part of the value: set it without."
)
ESCAPED = (
    "{} ends with a backslash and a letter, as in \\n, instead of a line break: set it without."
)
UNSEEN = "{} contains a character that is not visible, such as a zero-width space: type it again."
NAMED = "{} begins with its own name and an equals sign: set only what follows."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('"{}', QUOTED),
        ("{}'", QUOTED),
        ("\u201c{}\u201d", QUOTED),
        ("\u2018{}\u2019", QUOTED),
        ("{}\u201d", QUOTED),
        ("\u201e{}\u201c", QUOTED),
        ("\u00ab{}\u00bb", QUOTED),
        ("`{}`", QUOTED),
        ("\uff02{}\uff02", QUOTED),
        ("{}\\n", ESCAPED),
        ("{}\\r\\n", ESCAPED),
        ("\u200b{}", UNSEEN),
        ("{}\u200b", UNSEEN),
        ("\ufeff{}", UNSEEN),
        ("{}\ufeff", UNSEEN),
        ("0123\u200d{}", UNSEEN),
        ("{}\u00ad", UNSEEN),
        ("{}\u2060", UNSEEN),
        ("{}\x7f", UNSEEN),
        ("{}\x1b[0m", UNSEEN),
        ("{}\udcff", UNSEEN),  # a byte that is not UTF-8
        ("NAME={}", NAMED),
    ],
    ids=ascii,
)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BETTER_AUTH_SECRET", LONG),
        ("BETTER_AUTH_SECRET_PREVIOUS", LONG),
        ("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1/app"),
        ("JWT_ISSUER", "https://a.example"),
        ("JWT_AUDIENCE", "https://a.example"),
        ("CORS_ORIGINS", "https://a.example"),
        ("CRON_SECRET", LONG),
    ],
)
def test_a_mark_that_was_pasted_with_a_value_stops_the_start(
    name: str, value: str, text: str, sentence: str
) -> None:
    """Otherwise every token would be refused, although both sides seem to have the same secret."""
    with pytest.raises(SettingsError) as refused:
        read_settings({name: text.format(value).replace("NAME", name)})
    assert str(refused.value) == sentence.format(name)


@pytest.mark.parametrize(
    "name", ["CRON_SECRET", "SMOKE_TOKEN", "SMOKE_OTHER_TOKEN", "VERCEL_AUTOMATION_BYPASS_SECRET"]
)
@pytest.mark.parametrize("value", ["0123456789abcdef\u00e9", "01234567\n89abcdef"])
def test_a_value_that_no_header_can_carry_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({name: value})
    assert str(refused.value) == f"{name}: must consist of ASCII characters in one line."


def test_a_secret_keeps_what_it_contains() -> None:
    inside = (
        f'{LONG}"{LONG}',
        f"{LONG}\n{LONG}",
        f"{LONG} {LONG}",
        f"{LONG}\\n{LONG}",
        f"{LONG}\u00e9",
    )
    for secret in inside:
        assert secret == read_settings({"BETTER_AUTH_SECRET": secret}).BETTER_AUTH_SECRET
    assert read_settings({"JWKS": KEYS, "JWT_ALGORITHM": "EdDSA"}).JWKS == KEYS


@pytest.mark.parametrize(
    ("name", "spelling", "value"),
    [
        *(("LOG_LEVEL", spelling, "INFO") for spelling in ("info", "Info", "INFO")),
        ("LOG_LEVEL", "warning", "WARNING"),
        ("PROVISION_USERS", "FALSE", False),
        ("DOCS_ENABLED", "True", True),
        ("CORS_ALLOW_CREDENTIALS", "TRUE", True),
        ("JWT_ALGORITHM", "hs256", "HS256"),
    ],
)
def test_values_from_a_fixed_set_are_compared_without_case(
    name: str, spelling: str, value: object
) -> None:
    assert getattr(read_settings({name: spelling}), name) == value


@pytest.mark.parametrize("spelling", ["eddsa", "EDDSA", "EdDSA"])
def test_an_algorithm_is_compared_without_case(spelling: str) -> None:
    settings = read_settings({"JWT_ALGORITHM": spelling, "JWKS_URL": "https://a.example/jwks"})
    assert settings.JWT_ALGORITHM == "EdDSA"


# Origins


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://app.example.com", ["https://app.example.com"]),
        ("https://App.Example.com/", ["https://app.example.com"]),
        ("HTTPS://app.example.com:443", ["https://app.example.com"]),
        ("http://app.example.com:80", ["http://app.example.com"]),
        ("http://app.example.com:443", ["http://app.example.com:443"]),
        ("https://app.example.com:08443", ["https://app.example.com:8443"]),
        ("capacitor://localhost", ["capacitor://localhost"]),
        ("ionic://localhost, tauri://localhost", ["ionic://localhost", "tauri://localhost"]),
        ("chrome-extension://abcdefghijklmnop", ["chrome-extension://abcdefghijklmnop"]),
        ("app://obsidian.md", ["app://obsidian.md"]),
        ("http://[::1]:3000", ["http://[::1]:3000"]),
        ("http://[0:0:0:0:0:0:0:1]:80", ["http://[::1]"]),
        ("http://[2001:DB8::A]", ["http://[2001:db8::a]"]),
        ("http://127.0.0.1:3000", ["http://127.0.0.1:3000"]),
        ("https://a.example,https://A.example:443", ["https://a.example"]),
        ("https://xn--bcher-kva.example", ["https://xn--bcher-kva.example"]),
        (" https://a.example , ", ["https://a.example"]),
    ],
)
def test_origins_are_normalised_as_browsers_write_them(text: str, origins: list[str]) -> None:
    assert origins == read_settings({"CORS_ORIGINS": text}).CORS_ORIGINS


@pytest.mark.parametrize(
    "origin",
    [
        "*", "null", "https://*.example.com", "https://", "app.example.com", "localhost:3000",
        "//app.example.com", "https://a.example/path", "https://a.example//", "https://a.example?b",
        "https://a.example#b", "https://a.example:", "https://a.example:port",
        "https://a.example:65536", "https://user:hunter2@a.example", "http://[::1", "http://::1",
        "http://[::zz]", "http://127.1", "http://0x7f.1", "http://256.0.0.1", "http://1.2.3.4.5",
        "https://b\u00fccher.example", "https://a b.example", "https://a..example", "file://",
        "file://localhost", "1http://a.example", "postgresql://u:hunter2@db.example/app",
    ],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_stops_the_start(origin: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"CORS_ORIGINS": f"https://first.example,{origin}"})
    assert str(refused.value) == (
        "CORS_ORIGINS: entry 2 is not an exact origin like https://app.example.com."
    )


# Database URLs


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://localhost:Hunter2/secret@db.example:5432/app",
        "postgresql://u:12/Hunter2@db.example/app",
        "postgresql://u:12?Hunter2@db.example/app",
        "postgresql://u:12?Hunter2=@db.example/app",
        "postgresql://u:12#Hunter2@db.example/app",
        "postgresql://u:Hunter2@secret@127.0.0.1/app",
        "postgresql://u:Hunter2[secret@db.example/app",
        "postgresql://u:Hunter2]secret@db.example/app",
        "postgresql://u:Hunter2#secret@db.example/app",
        "postgresql://u:Hunter2/secret@db.example/app",
        "postgresql://u:Hunter2?secret@db.example/app",
        "postgresql://u:Hunter2%secret@db.example/app",
        "postgresql://u:Hunter2%zz@db.example/app",
        "postgresql://u:Hunter2%@db.example/app",
        "postgresql://u:Hunter2 secret@db.example/app",
        "postgresql://u:Hunter2%ff@db.example/app",
        "postgresql://u:Hunter2%00@db.example/app",
        "postgresql://u:Hunter2@db.example:port/app",
        "postgresql://u:Hunter2@db.example:99999/app",
        "postgresql://u:Hunter2@db.example:0/app",
        "postgresql://u:Hunter2@db.example,db2.example/app",
        "postgresql://u:Hunter2@[::zz]/app",
        "postgresql://u:Hunter2@db example/app",
        "postgresql://u:Hunter2@db.example/app?sslmode",
        "postgresql://u:Hunter2@db.example/app?sslmode=maybe",
        "postgresql://u:Hunter2@db.example/app?channel_binding=maybe",
        "postgresql://u@db.example/app?password=Hunter2#secret",
        "postgresql://u@db.example/app?password=Hunter2@secret",
        "Hunter2://u:Hunter2@db.example/app",
        "u:Hunter2@db.example",
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", "DATABASE_URL_UNPOOLED"])
def test_an_ambiguous_database_url_is_refused_without_quoting_it(name: str, url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({name: url})
    sentence = str(refused.value)
    assert re.fullmatch(f"{name}: must [^\n]*\\.", sentence)
    for part in ("Hunter2", "secret", "db.example"):
        assert part not in sentence


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_parts_of_a_database_url_are_decoded(scheme: str) -> None:
    url = parse_database_url(
        f"{scheme}://us%40er:p%2Fa%3Fs%23s%25%5B:w%C3%B6rd@ep-x-pooler.eu-central-1.aws.neon.tech:5433"
        "/neon%20db?sslmode=require&channel_binding=require&options=endpoint%3Dep-x"
    )
    assert (url.user, url.password) == ("us@er", "p/a?s#s%[:w\u00f6rd")
    assert (url.host, url.port) == ("ep-x-pooler.eu-central-1.aws.neon.tech", 5433)
    assert url.database == "neon db"
    assert url.options == {
        "sslmode": "require",
        "channel_binding": "require",
        "options": "endpoint=ep-x",
    }
    assert "w\u00f6rd" not in repr(url)


def test_parameters_replace_the_parts_of_a_database_url() -> None:
    url = parse_database_url(
        "postgres://a:b@c:1/d?host=h&port=2&user=u&password=Hunter2&dbname=e&application_name=x&"
    )
    assert (url.user, url.password, url.host, url.port, url.database) == (
        "u",
        "Hunter2",
        "h",
        2,
        "e",
    )
    assert url.options == {"application_name": "x"}
    assert "Hunter2" not in repr(url)


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
    blank = {"JWKS_URL": "", "DATABASE_URL": " ", "BETTER_AUTH_SECRET": "\n"}
    assert read_settings(blank) == read_settings({})


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


def test_the_optional_variables_of_the_example_work() -> None:
    found = re.findall(r"^#([A-Z_]+)=(.+)$", EXAMPLE.read_text(), re.MULTILINE)
    # JWKS_URL excludes JWKS, and the bundle is where only some systems have one.
    optional = {name: value for name, value in found if name not in ("JWKS", "SSL_CERT_FILE")}
    preview = {"VERCEL": "1", "VERCEL_ENV": "preview"}
    assert (
        read_settings({**preview, **optional, "JWT_ALGORITHM": "EdDSA"}).JWT_AUDIENCE == "todo-api"
    )
    static = dict(found)["JWKS"]
    settings = read_settings({"JWKS": static, "JWT_ALGORITHM": "EdDSA"})
    assert static == settings.JWKS
    require(settings, "BETTER_AUTH_SECRET")
