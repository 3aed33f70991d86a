"""A table of OAuth access tokens, each with the verdict that it must get at the MCP endpoint.

The classes are those of RFC 9068, and the classes of tokens.py in the form of access tokens. Every
other route must refuse all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from tests.security.auth import tokens
from tests.security.auth.keys import signing
from tests.security.auth.tokens import (
    AUDIENCE,
    FREE,
    ISSUER,
    NOW,
    OAUTH_CLAIMS,
    REFUSE,
    RESOURCE,
    SERVER,
    USER,
    Case,
    Forge,
    Named,
    Verdict,
)

READ, WRITE = "tasks:read", "tasks:write"
BOTH = frozenset({READ, WRITE})
CLIENT = "hDmLnqXbWzKpYtRsVcFgJkNwQxZaBeUo"
USERINFO = f"{SERVER}/oauth2/userinfo"


@dataclass(frozen=True)
class AccessForge(Forge):
    """Makes access tokens. By default they are those of Better Auth 1.7.5."""

    issuer: str = SERVER
    audience: str = RESOURCE

    def header(self, **changes: Any) -> dict[str, Any]:
        return super().header(**{"typ": "at+jwt", **changes})

    def claims(self, **changes: Any) -> dict[str, Any]:
        usual = {
            "name": ...,
            "email": ...,
            "emailVerified": ...,
            "client_id": CLIENT,
            "azp": CLIENT,
            "scope": f"openid {READ} {WRITE}",
            "sid": "mXv0zQ8wq1hT3yJb5nRk7uLd2cFa9eGs",
            "jti": "Jv0zQ8wq1hT3yJb5nRk7uLd2cFa9eGsm",
        }
        return super().claims(**{**usual, **changes})


def accept(token: str, *scopes: str, **more: Any) -> Case:
    return tokens.accept(token, scopes=frozenset(scopes), **more)


def good(f: Forge) -> Named:
    both = (READ, WRITE)
    yield "plain", accept(f.token(), *both)
    for typ in ("AT+JWT", "At+Jwt", "application/at+jwt", "Application/AT+JWT"):
        yield f"typ {typ}", accept(f.with_header(typ=typ), *both)
    for name in ("client_id", "azp", "jti", "sid"):
        yield f"no {name}", accept(f.claiming(**{name: ...}), *both)
    yield "no client", accept(f.claiming(client_id=..., azp=...), *both)
    yield "audience in a list", accept(f.claiming(aud=[RESOURCE]), *both)
    # Better Auth adds this audience for the scope openid.
    yield "audience before userinfo", accept(f.claiming(aud=[RESOURCE, USERINFO]), *both)
    yield "audience after userinfo", accept(f.claiming(aud=[USERINFO, RESOURCE]), *both)
    yield "authentication of the user", accept(f.claiming(acr="0", auth_time=NOW - 60), *both)
    yield "other claims", accept(f.claiming(roles=["admin"], permissions=["*"], ver=1), *both)
    yield "claims of other users", accept(f.claiming(id="bob", userId="bob", username="bob"), *both)
    profile = ("Alice", "alice@example.com", True)
    named = f.claiming(name=profile[0], email=profile[1], emailVerified=profile[2])
    yield "with a profile", accept(named, *both, profile=profile)
    yield "no profile", accept(f.claiming(jti="p"), *both, profile=(USER, None, False))


def scopes(f: Forge) -> Named:
    for scope, expected in {
        READ: (READ,),
        WRITE: (WRITE,),
        f"{WRITE} {READ}": (READ, WRITE),
        f"{READ} {READ}": (READ,),
        f"{READ}  {WRITE} ": (READ, WRITE),
        f"openid profile email offline_access {READ}": (READ,),
        "openid": (),
        "": (),
        " ": (),
        "tasks": (),
        "tasks:": (),
        "tasks:*": (),
        "*": (),
        "tasks:reads": (),
        "tasks:writ": (),
        "atasks:write": (),
        READ.upper(): (),
        f"{READ},{WRITE}": (),
        f"{READ}\t{WRITE}": (),
        f"{READ}\n{WRITE}": (),
        f"{READ}\u00a0{WRITE}": (),
        f"{READ}+{WRITE}": (),
        f'"{WRITE}"': (),
        f"{SERVER}/{WRITE}": (),
        f"api://tasks/{WRITE}": (),
    }.items():
        yield f"scope {scope!r}", accept(f.claiming(scope=scope), *expected)
    yield "no scope", accept(f.claiming(scope=...))
    for name in ("scp", "scopes", "permissions", "roles", "SCOPE", "Scope"):
        for value in (f"{READ} {WRITE}", [READ, WRITE]):
            claims = {"scope": ..., name: value}
            yield f"{name} {type(value).__name__} instead", accept(f.claiming(**claims))
    yield "scp beside scope", accept(f.claiming(scope=READ, scp=[WRITE]), READ)
    for odd in (None, True, 7, 1.5, [], [READ, WRITE], [[READ]], {READ: True}, {}):
        reason = "UntrustedToken: scope is not a string"
        yield f"scope {odd!r}", tokens.refuse(f.claiming(scope=odd), reason=reason)


def types(f: Forge) -> Named:
    """Access tokens in all but their `typ`: this API would take them for session tokens."""
    for typ in (
        ...,
        None,
        "",
        "JWT",
        "jwt",
        "at",
        "at-jwt",
        "at+jwt ",
        " at+jwt",
        "at+jwt\0",
        "at+jwts",
        "rat+jwt",
        "text/at+jwt",
        "application/at+jwt;v=1",
        "application/application/at+jwt",
        "at+sd-jwt",
        "rt+jwt",
        "id_token",
        "logout+jwt",
        "token-introspection+jwt",
        ["at+jwt"],
        {"at+jwt": True},
        7,
        True,
    ):
        yield f"typ {typ!r}", tokens.refuse(f.with_header(typ=typ))


CONDITIONS = ("cnf", "act", "may_act", "authorization_details")


def conditions(f: Forge) -> Named:
    """Tokens that are valid under conditions which this API does not check."""
    for name in CONDITIONS:
        reason = f"UntrustedToken: the claim {name} "
        for value in (OAUTH_CLAIMS[name], None):
            yield f"{name} {value!r}", tokens.refuse(f.claiming(**{name: value}), reason=reason)
    thumbprint = {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}
    yield "mutual TLS", tokens.refuse(f.claiming(cnf=thumbprint))
    yield "no confirmation", tokens.refuse(f.claiming(cnf={}))


def other_subjects(f: Forge) -> Named:
    """Tokens of clients, which Better Auth issues for the grant type client_credentials."""
    reason = "UntrustedToken: sub names the client"
    yield "client", tokens.refuse(f.claiming(sub=CLIENT), reason=reason)
    yield "client_id alone", tokens.refuse(f.claiming(sub=CLIENT, azp=...), reason=reason)
    yield "azp alone", tokens.refuse(f.claiming(sub=CLIENT, client_id=...), reason=reason)
    yield "user as client", tokens.refuse(f.claiming(client_id=USER), reason=reason)


def id_tokens(f: Forge) -> Named:
    """ID tokens, with the `typ`, the audience or the claims of access tokens."""
    shared = {"client_id": ..., "azp": ..., "scope": ..., "acr": "0", "auth_time": NOW - 60}
    plain = shared | {"aud": CLIENT, "at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}
    header = f.header(typ=...)
    yield "plain", tokens.refuse(f.token(header, f.claims(**plain)))
    yield "typ at+jwt", tokens.refuse(f.claiming(**plain), reason="InvalidAudienceError")
    ours = plain | {"aud": RESOURCE}
    yield "our audience", tokens.refuse(f.token(header, f.claims(**ours)))
    for name in ("nonce", "at_hash", "c_hash", "s_hash"):
        claims = shared | {"aud": [CLIENT, RESOURCE], "scope": WRITE, name: OAUTH_CLAIMS[name]}
        reason = f"UntrustedToken: the claim {name} "
        yield f"all of it with {name}", tokens.refuse(f.claiming(**claims), reason=reason)


def audiences(f: Forge) -> Named:
    for name, audience in {
        "of session tokens": AUDIENCE,
        "issuer of session tokens": ISSUER,
        "authorization server": SERVER,
        "userinfo": USERINFO,
        "client": CLIENT,
        "origin": "https://api.example.com",
        "origin and slash": "https://api.example.com/",
        "other path": "https://api.example.com/api",
        "metadata": "https://api.example.com/.well-known/oauth-protected-resource/api/mcp",
        "http": RESOURCE.replace("https", "http"),
        "scheme in capitals": RESOURCE.replace("https", "HTTPS"),
        "default port": RESOURCE.replace(".com/", ".com:443/"),
        "query": f"{RESOURCE}?a=1",
        "fragment": f"{RESOURCE}#a",
        "other host": RESOURCE.replace("api.example", "api.evil"),
        "percent-encoded": RESOURCE.replace("mcp", "%6dcp"),
        "list without ours": [SERVER, USERINFO, AUDIENCE],
    }.items():
        refused = tokens.refuse(f.claiming(aud=audience), reason="InvalidAudienceError")
        yield f"aud {name}", refused


def issuers(f: Forge) -> Named:
    for name, issuer in {
        "of session tokens": ISSUER,
        "resource": RESOURCE,
        "origin": "https://auth.example.com",
        "other path": "https://auth.example.com/api",
        "http": SERVER.replace("https", "http"),
        "default port": SERVER.replace(".com/", ".com:443/"),
        "other host": SERVER.replace("auth.example", "auth.evil"),
    }.items():
        yield f"iss {name}", tokens.refuse(f.claiming(iss=issuer), reason="InvalidIssuerError")


# The classes of tokens.py that concern the form, the signature and the registered claims.
INHERITED = (
    "algorithms", "confusion", "foreign keys", "key ids", "odd entries", "critical", "structures",
    "segments", "sizes", "missing claims", "expiries", "other times", "subjects",
    "audiences and issuers", "signatures", "schemes", "lifetimes",
)  # fmt: skip
# RFC 9068 requires iat.
STRICTER = {("other times", "no iat"), ("lifetimes", "no iat")}
KINDS: dict[str, Callable[[Forge], Named]] = {
    "access tokens": good,
    "access scopes": scopes,
    "access types": types,
    "access conditions": conditions,
    "access subjects": other_subjects,
    "access id tokens": id_tokens,
    "access audiences": audiences,
    "access issuers": issuers,
}


@cache
def access_table(algorithm: str) -> tuple[Case, ...]:
    """Every case for this algorithm, with its verdicts at the MCP endpoint."""
    sign, foreign = signing(algorithm, "ours"), signing(algorithm, "foreign")
    forge = AccessForge(algorithm, sign, foreign)
    cases = [
        replace(_inherited(entry, kind, name), name=name, kind=f"access {kind}")
        for kind in INHERITED
        for name, entry in tokens.KINDS[kind](forge)
    ]
    cases += [
        replace(entry, name=name, kind=kind)
        for kind, make in KINDS.items()
        for name, entry in make(forge)
    ]
    if forge.symmetric:  # it cannot offer OAuth, so the rules of session tokens apply
        return tuple(replace(each, expected=_refused(each), reason=None) for each in cases)
    return tuple(replace(each, expected=_at_mcp(each)) for each in cases)


def _inherited(entry: Case, kind: str, name: str) -> Case:
    if (kind, name) in STRICTER:
        entry = replace(entry, expected=dict.fromkeys(entry.expected, REFUSE))
    return replace(entry, scopes=BOTH)


def _refused(entry: Case) -> dict[str, Verdict]:
    free = FREE in entry.expected.values()  # its challenge may say that it has expired
    deployment = "mcp capped" if "capped" in entry.expected else "mcp strict"
    return {deployment: FREE if free else REFUSE}


def _at_mcp(entry: Case) -> dict[str, Verdict]:
    """By deployment. The configured issuer and audience of session tokens do not matter."""
    if "capped" in entry.expected:
        return {"mcp capped": entry.expected["capped"]}
    return dict.fromkeys(("mcp strict", "mcp bare"), entry.expected["strict"])


@cache
def session_table(algorithm: str) -> tuple[Case, ...]:
    """The cases of tokens.py at the MCP endpoint, with and without an authorization server."""
    return tuple(replace(each, **_same_at_mcp(each)) for each in tokens.table(algorithm))


def _same_at_mcp(entry: Case) -> dict[str, Any]:
    expected = entry.expected | {f"mcp {name}": each for name, each in entry.expected.items()}
    # Tokens of this type are refused for their issuer instead.
    is_access_token = "at+jwt" in entry.name.lower() or entry.name == "complete access token"
    return {"expected": expected, "reason": None if is_access_token else entry.reason}
