"""A table of valid, unusual and hostile tokens, each with the verdict that it must get.

The classes are those of RFC 8725, of the attacks on JWT libraries since 2015, and of what Better
Auth issues beside session tokens. Every token is built here: no library would sign most of them.
"""

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.security.auth.keys import (
    PREVIOUS_SECRET,
    SECRET,
    Sign,
    base64url,
    by_ec,
    by_hmac,
    by_pss,
    by_rsa,
    ec_key,
    ed448_key,
    ed25519_key,
    jwk,
    key_set,
    private_jwk,
    private_key,
    rsa_key,
    signing,
)

ALGORITHMS = ("HS256", "EdDSA", "ES256", "RS256")
NOW = 1_795_000_000  # the time at which the table is evaluated
ISSUER = "https://app.example.com"
AUDIENCE = "todo-api"
SERVER = "https://auth.example.com/api/auth"  # issues the access tokens for MCP
RESOURCE = "https://api.example.com/api/mcp"
LIFETIME = 900  # seconds, where the deployment caps it
USER = "i1L8BmVMVtI3uweHNYXYT1jwcM4vlapf"
KID = "zUOx3zdyNxnz06FwiOvlQqduxquM0g61"
MAX_LENGTH = 8192  # characters of a token
MAX_EXPIRY = 253402300799


class Verdict(StrEnum):
    ACCEPT = "accept"
    REFUSE = "refuse"
    FREE = "free"  # the specifications allow both


ACCEPT, REFUSE, FREE = Verdict

# The WWW-Authenticate header of the response.
NO_TOKEN = "Bearer"
SEVERAL = 'Bearer error="invalid_request", error_description="Send only one Authorization header."'
INVALID = 'Bearer error="invalid_token", error_description="The token is invalid."'
EXPIRED = 'Bearer error="invalid_token", error_description="The token has expired."'


@dataclass(frozen=True)
class Case:
    """One value of the Authorization header, and the verdict of each deployment."""

    name: str
    authorization: str | None
    # By deployment: strict (issuer and audience configured), bare (neither), capped (strict, with
    # a maximum lifetime), rotated (strict, with a previous secret); each also with an authorization
    # server for MCP, as in "mcp strict".
    expected: dict[str, Verdict]
    subject: str = USER  # the user of an accepted token
    profile: tuple[str, str, bool] | None = None  # name, e-mail, e-mail verified
    scopes: frozenset[str] | None = None  # of an accepted access token
    challenge: str = INVALID  # of a refusal
    reason: str | None = None  # how the reason in the log begins, where it is documented
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


class Raw(str):
    """JSON text that is inserted into an object verbatim."""

    __slots__ = ()


def text_of(value: object) -> bytes:
    """A value as JSON; bytes are returned unchanged."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        members = (
            f"{json.dumps(k)}:{v if isinstance(v, Raw) else json.dumps(v)}"
            for k, v in value.items()
        )
        return f"{{{','.join(members)}}}".encode()
    return json.dumps(value).encode()


def changed(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (members | changes).items() if value is not ...}


@dataclass(frozen=True)
class Forge:
    """Makes tokens for one algorithm."""

    algorithm: str
    sign: Sign
    foreign: Sign = field(repr=False)
    issuer: str = ISSUER
    audience: str = AUDIENCE

    def header(self, **changes: Any) -> dict[str, Any]:
        """The header that Better Auth writes; a member given as ... is left out."""
        return changed({"alg": self.algorithm, "kid": KID}, changes)

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims that Better Auth writes; a claim given as ... is left out."""
        usual = {
            "iat": NOW,
            "name": "Alice",
            "email": "alice@example.com",
            "emailVerified": False,
            "sub": USER,
            "exp": NOW + 300,
            "iss": self.issuer,
            "aud": self.audience,
        }
        return changed(usual, changes)

    def token(self, header: object = None, claims: object = None, sign: Sign | None = None) -> str:
        """A correctly signed token with any header and payload, each an object or raw bytes."""
        first = text_of(self.header() if header is None else header)
        second = text_of(self.claims() if claims is None else claims)
        signed = f"{base64url(first)}.{base64url(second)}"
        return f"{signed}.{base64url((sign or self.sign)(signed.encode()))}"

    def with_header(self, **changes: Any) -> str:
        return self.token(header=self.header(**changes))

    def claiming(self, **changes: Any) -> str:
        return self.token(claims=self.claims(**changes))

    @property
    def symmetric(self) -> bool:
        return self.algorithm == "HS256"


def of_length(f: Forge, characters: int) -> str:
    """A valid token of exactly this many characters."""
    fixed = len(f.claiming(name="").rpartition(".")[2]) + 2
    empty = len(text_of(f.claims(name="")))
    for padding in range(4):  # base64 does not have every length
        header = f.header(x="x" * padding)
        wanted = characters - fixed - len(base64url(text_of(header)))
        if wanted % 4 != 1:
            return f.token(header=header, claims=f.claims(name="x" * (wanted * 3 // 4 - empty)))
    raise AssertionError(characters)


def case(token: str, strict: Verdict, bare: Verdict | None = None, **more: Any) -> Case:
    return Case("", f"Bearer {token}", {"strict": strict, "bare": bare or strict}, **more)


def accept(token: str, **more: Any) -> Case:
    return case(token, ACCEPT, **more)


def refuse(token: str, **more: Any) -> Case:
    return case(token, REFUSE, **more)


def free(token: str, **more: Any) -> Case:
    return case(token, FREE, **more)


def in_header(authorization: str | None, verdict: Verdict, challenge: str = INVALID) -> Case:
    return Case("", authorization, {"strict": verdict, "bare": verdict}, challenge=challenge)


type Named = Iterator[tuple[str, Case]]


def good(f: Forge) -> Named:
    yield "plain", accept(f.token())
    for typ in ("JWT", "jwt", "Jwt"):
        yield f"typ {typ}", accept(f.with_header(typ=typ))
    yield "unknown header members", accept(f.with_header(x=1, nonce="a", iss="b"))
    yield "members in another order", accept(f.token(header=dict(reversed(f.header().items()))))
    pretty = json.dumps(f.claims(), indent=2).encode()
    yield "payload with blanks", accept(f.token(claims=pretty))
    escaped = text_of(f.claims()).replace(b'"sub"', rb'"\u0073ub"')
    yield "escaped name of a member", accept(f.token(claims=escaped))
    profile = ("Alice", "alice@example.com", True)
    yield "with a profile", accept(f.claiming(emailVerified=True), profile=profile)
    default = (USER, None, False)
    for name, profile in {
        "no profile": {"name": ..., "email": ..., "emailVerified": ...},
        "empty profile": {"name": "", "email": "", "emailVerified": 0},
        "odd profile": {"name": ["x"], "email": 7, "emailVerified": "true"},
        "null in the profile": {"name": None, "email": None, "emailVerified": None},
        "NUL in the profile": {"name": "A\0", "email": "a\0@example.com"},
        "surrogates in the profile": {"name": "A\ud800", "email": "\udc00@example.com"},
    }.items():
        yield name, accept(f.claiming(**profile), profile=default)
    yield "claims of other users", accept(f.claiming(id="bob", userId="bob", user={"id": "bob"}))
    yield (
        "claims of power",
        accept(f.claiming(role="admin", permissions=["*"], __proto__={"sub": "bob"})),
    )
    yield "jti", accept(f.claiming(jti="a"))
    yield "audience among others", accept(f.claiming(aud=["https://x.example", AUDIENCE]))
    yield "audience twice", accept(f.claiming(aud=[AUDIENCE, AUDIENCE]))
    yield "full user object", accept(f.claiming(image=None, createdAt="2026-11-22T19:43:36.174Z"))
    yield "as long as allowed", accept(of_length(f, MAX_LENGTH))


def algorithms(f: Forge) -> Named:
    signature = base64url(f.sign(b"another text"))
    for spelling in ("none", "None", "NONE", "nOnE", "none ", "null", "false", "0"):
        signed = f.token(header=f.header(alg=spelling))
        head = signed.rpartition(".")[0]
        yield f"alg {spelling}, no signature", refuse(head + ".")
        yield f"alg {spelling}, signature of another text", refuse(f"{head}.{signature}")
        yield f"alg {spelling}, signed", refuse(signed)
    for odd in (
        ...,
        None,
        "",
        " ",
        256,
        True,
        [f.algorithm],
        {"name": f.algorithm},
        f.algorithm.swapcase(),
        f.algorithm + " ",
        f.algorithm + "\0",
        f" {f.algorithm}",
        f"{f.algorithm},none",
        "HS257",
        "A" * 500,
    ):
        yield f"alg {odd!r:.20}", refuse(f.with_header(alg=odd))
    others: dict[str, Sign] = {
        "HS256": by_hmac(SECRET),
        "HS384": by_hmac(SECRET, "sha384"),
        "HS512": by_hmac(SECRET, "sha512"),
        "RS256": by_rsa(rsa_key("ours")),
        "RS384": by_rsa(rsa_key("ours"), hashes.SHA384),
        "RS512": by_rsa(rsa_key("ours"), hashes.SHA512),
        "PS256": by_pss(rsa_key("ours")),
        "PS384": by_pss(rsa_key("ours"), hashes.SHA384),
        "PS512": by_pss(rsa_key("ours"), hashes.SHA512),
        "ES256": by_ec(ec_key("ours")),
        "ES384": by_ec(ec_key("ours", ec.SECP384R1), hashes.SHA384),
        "ES512": by_ec(ec_key("ours", ec.SECP521R1), hashes.SHA512),
        "EdDSA": ed25519_key("ours").sign,
        "Ed25519": ed25519_key("ours").sign,
        "ES256K": by_ec(ec_key("ours", ec.SECP256K1)),
        "Ed448": ed448_key("ours").sign,
    }
    for name, sign in others.items():
        if name not in (f.algorithm, {"EdDSA": "Ed25519"}.get(f.algorithm)):
            token = f.token(header=f.header(alg=name), sign=sign)
            yield f"{name}, correctly signed", refuse(token, reason="InvalidAlgorithmError")
            token = f.token(header=f.header(alg=name, kid="nobody"), sign=sign)
            yield f"{name}, unknown kid", refuse(token, reason="InvalidAlgorithmError")
            if name != "Ed25519":  # which EdDSA was there already
                yield f"{name}, under our name", refuse(f.token(sign=sign))


def confusion(f: Forge) -> Named:
    """Values that are public, used as a secret."""
    known: dict[str, bytes] = {
        "nothing": b"",
        "the word secret": b"secret",
        "the key id": KID.encode(),
        "the issuer": ISSUER.encode(),
        "the audience": AUDIENCE.encode(),
        "the example secret": b"an-example-secret-for-local-use-only-0123456789",
    }
    if f.symmetric:
        known |= {
            "the secret and a newline": f"{SECRET}\n".encode(),
            "the secret without its end": SECRET[:-1].encode(),
            "the secret in capitals": SECRET.upper().encode(),
            "the secret in base64": base64url(SECRET.encode()).encode(),
            "the secret backwards": SECRET[::-1].encode(),
            "a retired secret": PREVIOUS_SECRET.encode(),
        }
    for algorithm in ALGORITHMS[1:]:
        if f.algorithm in ("HS256", algorithm):
            key = private_key(algorithm, "ours").public_key()
            pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            known |= {
                f"{algorithm} PEM": pem,
                f"{algorithm} PEM without its last newline": pem.rstrip(),
                f"{algorithm} PEM with CRLF": pem.replace(b"\n", b"\r\n"),
                f"{algorithm} PEM's inside": b"".join(pem.splitlines()[1:-1]),
                f"{algorithm} DER": key.public_bytes(
                    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                ),
                f"{algorithm} SSH": key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
                f"{algorithm} JWK": text_of(jwk(private_key(algorithm, "ours"), KID)),
                f"{algorithm} set": key_set(jwk(private_key(algorithm, "ours"), KID)).encode(),
            }
            if algorithm == "RS256":
                known["RS256 PKCS 1"] = key.public_bytes(Encoding.PEM, PublicFormat.PKCS1)
            if algorithm == "EdDSA":
                known["EdDSA raw"] = key.public_bytes_raw()
                known["EdDSA x"] = base64url(key.public_bytes_raw()).encode()
    for name, secret in known.items():
        yield f"HMAC of {name}", refuse(f.token(header=f.header(alg="HS256"), sign=by_hmac(secret)))
        if not f.symmetric:
            yield f"HMAC of {name}, under our name", refuse(f.token(sign=by_hmac(secret)))


def foreign_keys(f: Forge) -> Named:
    yield "right kid, foreign key", refuse(f.token(sign=f.foreign), reason="InvalidSignatureError")
    yield "no kid, foreign key", refuse(f.token(header=f.header(kid=...), sign=f.foreign))
    key = private_key("RS256" if f.symmetric else f.algorithm, "foreign")
    offers: dict[str, dict[str, Any]] = {
        "jwk": {"jwk": jwk(key, KID)},
        "jwk, symmetric": {"jwk": {"kty": "oct", "k": base64url(b"known"), "kid": KID}},
        "jku": {"jku": "http://127.0.0.1:1/jwks.json"},
        "jku beside the issuer": {"jku": f"{ISSUER}@evil.example/jwks"},
        "x5u": {"x5u": "http://127.0.0.1:1/cert.pem"},
        "x5c": {"x5c": ["MIIB"]},
        "x5t": {"x5t": "abc", "x5t#S256": "abc"},
    }
    for name, offer in offers.items():
        header = f.header(**offer)
        yield f"{name}, signed by a foreign key", refuse(f.token(header=header, sign=f.foreign))
        header = f.header(kid="foreign", **offer)
        yield f"{name} and kid of a foreign key", refuse(f.token(header=header, sign=f.foreign))
        yield f"{name}, signed by us", free(f.with_header(**offer))


def key_ids(f: Forge) -> Named:
    texts = {
        "empty": "",
        "blank": " ",
        "unknown": "nobody",
        "in capitals": KID.upper(),
        "cut": KID[:-1],
        "with a blank": f"{KID} ",
        "with a NUL": f"{KID}\0",
        "traversal": "../../../../dev/null",
        "url": "http://127.0.0.1:1/key",
        "SQL": "' UNION SELECT 'secret' --",
        "command": "|/bin/true",
        "surrogate": "\ud800",
        "long": "k" * 4000,
        "__class__": "__class__",
    }
    for name, kid in texts.items():
        # With a shared secret the key id has no meaning.
        yield f"kid {name}", (free if f.symmetric else refuse)(f.with_header(kid=kid))
    yield "kid missing", (accept if f.symmetric else refuse)(f.with_header(kid=...))
    for odd in (None, 0, True, [KID], {"kid": KID}, 1.5):
        yield f"kid {odd!r}", refuse(f.with_header(kid=odd))


def odd_entries(f: Forge) -> Named:
    """Tokens of other keys in the set."""
    if f.symmetric:
        return
    for kid, key in good_entries(f.algorithm).items():
        sign = signing_with(f.algorithm, key)
        yield f"entry {kid}", accept(f.token(header=f.header(kid=kid), sign=sign))
    for kid, key in bad_entries(f.algorithm).items():
        sign = signing_with(f.algorithm, key)
        yield f"entry {kid}", refuse(f.token(header=f.header(kid=kid), sign=sign))
    nameless = signing_with(f.algorithm, private_key(f.algorithm, "odd"))
    yield "entry without kid", refuse(f.token(header=f.header(kid=...), sign=nameless))
    yield "entry with kid null", refuse(f.token(header=f.header(kid=None), sign=nameless))
    secret = by_hmac(SECRET)
    for algorithm in ("HS256", f.algorithm):
        header = f.header(alg=algorithm, kid="symmetric")
        yield f"symmetric entry, {algorithm}", refuse(f.token(header=header, sign=secret))


def critical(f: Forge) -> Named:
    for crit in (
        ["exp"],
        ["b64"],
        ["kid"],
        [],
        {},
        "exp",
        None,
        [1],
        [None],
        ["exp", 7],
        ["b64", "exp"],
        [["b64"]],
        ["http://openid.net/specs/x"],
    ):
        yield f"crit {crit!r}", refuse(f.with_header(crit=crit))
    yield "crit b64, b64 true", free(f.with_header(crit=["b64"], b64=True))
    yield "b64 false", refuse(f.with_header(b64=False))
    yield "b64 false, crit", refuse(f.with_header(b64=False, crit=["b64"]))
    head = base64url(text_of(f.header(b64=False, crit=["b64"])))
    payload = text_of(f.claims())
    detached = base64url(f.sign(head.encode() + b"." + payload))
    yield "b64 false, payload detached", refuse(f"{head}..{detached}")
    plain = f"Bearer {head}.{payload.decode()}.{detached}"
    yield "b64 false, payload as it is", in_header(plain, REFUSE, SEVERAL)
    packed = zlib.compress(payload)[2:-4]
    yield "zip", refuse(f.token(header=f.header(zip="DEF"), claims=packed))
    yield "zip that is none", free(f.with_header(zip="DEF"))
    yield "nested", refuse(f.token(header=f.header(cty="JWT"), claims=f.token().encode()))
    nested = json.dumps(f.token()).encode()
    yield "nested as a text", refuse(f.token(header=f.header(cty="JWT"), claims=nested))
    yield "cty that is none", free(f.with_header(cty="JWT"))
    yield "enc", free(f.with_header(enc="A256GCM"))
    direct = base64url(b'{"alg":"dir","enc":"A256GCM"}')
    yield "encrypted", refuse(f"{direct}..AAAA.{f.token().split('.')[1]}.AAAA")


def purposes(f: Forge) -> Named:
    for typ in (
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "better-auth.session-cache+jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "client-authentication+jwt",
        "kb+jwt",
        "dc+sd-jwt",
        "vc+jwt",
        "entity-statement+jwt",
        "JWE",
        "id_token",
        "refresh+jwt",
        "rt+jwt",
        "JWTs",
        "not-jwt",
    ):
        yield f"typ {typ}", refuse(f.with_header(typ=typ), reason="UntrustedToken: typ")
    for typ in ("", " JWT", "JWT ", "JOSE", "application/jwt", None, 1, True, ["JWT"], {}):
        yield f"typ {typ!r}", free(f.with_header(typ=typ))


# What marks a token as issued to an OAuth client, with a usual value.
OAUTH_CLAIMS: dict[str, Any] = {
    "azp": "client",
    "client_id": "client",
    "scope": "tasks:read tasks:write",
    "scp": ["tasks:read"],
    "appid": "00000003-0000-0000-c000-000000000000",
    "gty": "client-credentials",
    "authorization_details": [{"type": "tasks", "actions": ["read"]}],
    "acr": "urn:mace:incommon:iap:bronze",
    "auth_time": NOW - 60,
    "nonce": "n-0S6_WzA2Mj",
    "at_hash": "77QmUPtjPfzWtF2AnpK9RQ",
    "c_hash": "LDktKdoQak3Pk0cnXxCltA",
    "s_hash": "5DFmVwSOxmR5yQb7N4Yz9g",
    "act": {"sub": "service"},
    "may_act": {"sub": "service"},
    "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"},
}
# Tokens of other providers, as they document them: the claims beside iat, exp, iss, aud and sub.
PROVIDER_TOKENS: dict[str, dict[str, Any]] = {
    "Okta": {"ver": 1, "jti": "AT.a", "cid": "0oa1", "uid": "00u1", "scp": ["openid"]},
    "Auth0": {"azp": "client", "scope": "openid"},
    "Auth0, machine to machine": {"azp": "client", "gty": "client-credentials"},
    "Entra 1.0": {"appid": "client", "appidacr": "1", "oid": "a", "roles": ["r"], "ver": "1.0"},
    "Entra 2.0": {"azp": "client", "azpacr": "1", "oid": "a", "scp": "read", "ver": "2.0"},
    "Keycloak": {"typ": "Bearer", "azp": "client", "sid": "s", "scope": "openid"},
    "Cognito": {"token_use": "access", "scope": "openid", "client_id": "client"},
    "Cognito, ID token": {"token_use": "id", "auth_time": NOW - 60},
    "token exchange": {"act": {"sub": "service", "act": {"sub": "gateway"}}},
    "DPoP": {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
    "mutual TLS": {"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}},
    "hybrid flow": {"c_hash": "LDktKdoQak3Pk0cnXxCltA", "s_hash": "5DFmVwSOxmR5yQb7N4Yz9g"},
}
# Fields of users and sessions that Better Auth or its users may put into a session token.
USER_FIELDS: dict[str, Any] = {
    "cid": "company", "sid": "session", "sessionId": "s", "scopes": ["tasks"], "roles": ["admin"],
    "role": "authenticated", "permissions": ["*"], "groups": ["staff"], "ver": 1, "uid": "u",
    "username": "alice", "displayUsername": "Alice", "banned": False, "banReason": None,
    "banExpires": None, "phoneNumber": "+100", "phoneNumberVerified": True, "isAnonymous": False,
    "twoFactorEnabled": True, "stripeCustomerId": "cus_1", "lastLoginMethod": "email",
    "activeOrganizationId": "o", "impersonatedBy": None, "appId": "a", "clientId": "c",
    "account": "a", "action": "a", "authTime": 1, "typ": "user", "tid": "tenant",
}  # fmt: skip


def oauth_tokens(f: Forge) -> Named:
    """What an OAuth provider signs with the same key, for third parties."""
    for name, value in OAUTH_CLAIMS.items():
        reason = f"UntrustedToken: the claim {name} "
        yield f"claim {name}", refuse(f.claiming(**{name: value}), reason=reason)
        yield f"claim {name} is null", refuse(f.claiming(**{name: None}), reason=reason)
    yield "scope is empty", refuse(f.claiming(scope=""), reason="UntrustedToken: the claim scope")
    for name, claims in PROVIDER_TOKENS.items():
        yield f"of {name}", refuse(f.claiming(**{"jti": "p"} | claims))
    for name, value in USER_FIELDS.items():
        yield f"user field {name}", accept(f.claiming(**{name: value}))
    yield "all user fields", accept(f.claiming(**USER_FIELDS))
    access_token = f.claims(azp="client", client_id="client", scope="openid profile", jti="a")
    header = f.header(typ="at+jwt")
    yield (
        "complete access token",
        refuse(f.token(header, access_token), reason="UntrustedToken: typ"),
    )


def better_auth_look_alikes(f: Forge) -> Named:
    """What Better Auth signs with the same key for other purposes."""
    cache_header = f.header(typ="better-auth.session-cache+jwt")
    cached = f.claims(aud="better-auth:session-cache", sid="s", session={}, user={"id": USER})
    yield "session cache", refuse(f.token(header=cache_header, claims=cached))
    cookie = {"session": {"userId": USER}, "user": {"id": USER}, "iat": NOW, "exp": NOW + 300}
    missing = "MissingRequiredClaimError"
    yield "session cookie", refuse(f.token(claims=cookie), reason=missing)
    mailed = {"email": "alice@example.com", "iat": NOW, "exp": NOW + 3600}
    yield "e-mail verification", refuse(f.token(claims=mailed | {"userId": USER}), reason=missing)
    yield "e-mail change", refuse(f.token(claims=mailed | {"updateTo": "b@x.example"}))
    yield "id and no sub", refuse(f.claiming(sub=..., id=USER), reason=missing)
    yield "user_id and no sub", refuse(f.claiming(sub=..., user_id=USER, uid=USER), reason=missing)
    session_token = "mXv0zQ8wq1hT3yJb5nRk7uLd2cFa9eGs"
    yield "session token", refuse(session_token)
    yield (
        "session token, signed",
        refuse(f"{session_token}.q83vEjRWeJAbCdEfGhIjKlMnOpQrStUvWxYz01="),
    )


def structures(f: Forge) -> Named:
    """Headers and payloads that are not JSON objects, in correctly signed tokens."""
    head, payload = text_of(f.header()), text_of(f.claims())
    for name, make in {
        "nothing": lambda _: b"",
        "blank": lambda _: b" ",
        "null": lambda _: b"null",
        "true": lambda _: b"true",
        "number": lambda _: b"1",
        "text": lambda _: b'"sub"',
        "list": lambda text: b"[" + text + b"]",
        "list of pairs": lambda _: b'[["alg","none"],["sub","alice"]]',
        "no JSON": lambda _: b"alg=none",
        "cut": lambda text: text[:-1],
        "trailing object": lambda text: text + b"{}",
        "trailing NUL": lambda text: text + b"\0",
        "trailing comma": lambda text: text[:-1] + b",}",
        "single quotes": lambda text: text.replace(b'"', b"'"),
        "comment": lambda text: b"/**/" + text,
        "no UTF-8": lambda text: text[:-1] + b',"x":"\xff"}',
        "overlong UTF-8": lambda text: text[:-1] + b',"x":"\xc0\xaf"}',
        "raw newline in a text": lambda text: text[:-1] + b',"x":"\n"}',
        "deep lists": lambda _: b"[" * 2500,
        "deep objects": lambda _: b'{"a":' * 500 + b"1" + b"}" * 500,
        "number of 4400 digits": lambda text: text[:-1] + b',"x":' + b"9" * 4400 + b"}",
        "XML": lambda _: b"<alg>none</alg>",
    }.items():
        yield f"header {name}", refuse(f.token(header=make(head)))
        yield f"payload {name}", refuse(f.token(claims=make(payload)))
    yield "empty payload object", refuse(f.token(claims=b"{}"))
    yield "empty header object", refuse(f.token(header=b"{}"))
    for name, odd in {
        "mark": b"\xef\xbb\xbf" + payload,
        "UTF-16": payload.decode().encode("utf-16"),
        "UTF-32": payload.decode().encode("utf-32-le"),
        "NaN": payload[:-1] + b',"x":NaN}',
        "sub twice, last ours": b'{"sub":"bob",' + payload[1:],
        "exp twice, last good": b'{"exp":1,' + payload[1:],
        "deep member": payload[:-1] + b',"x":' + b"[" * 800 + b"]" * 800 + b"}",
    }.items():
        yield f"payload with {name}", free(f.token(claims=odd))
    yield "header with a mark", free(f.token(header=b"\xef\xbb\xbf" + head))
    yield "alg twice, last ours", free(f.token(header=b'{"alg":"none",' + head[1:]))
    yield "alg twice, last none", refuse(f.token(header=head[:-1] + b',"alg":"none"}'))
    twice = payload[:-1] + b',"exp":1}'
    yield "exp twice, last past", refuse(f.token(claims=twice), challenge=EXPIRED)
    yield "sub twice, last empty", refuse(f.token(claims=payload[:-1] + b',"sub":""}'))
    names = text_of(f.claims(sub=..., Sub=USER, SUB=USER, exp=...))
    yield "names in capitals", refuse(f.token(claims=names[:-1] + b',"Exp":%d}' % (NOW + 300)))


def segments(f: Forge) -> Named:
    token = f.token()
    head, payload, tail = token.split(".")
    standard = head[:-2] + "+/"
    for name, odd in {
        "one part": head,
        "two parts": f"{head}.{payload}",
        "four parts": f"{token}.{tail}",
        "five parts": f"{token}.{tail}.{tail}",
        "only dots": "..",
        "no header": f".{payload}.{tail}",
        "no payload": f"{head}..{tail}",
        "no signature": f"{head}.{payload}.",
        "dot before": f".{token}",
        "dot after": f"{token}.",
        "two dots": f"{head}..{payload}.{tail}",
        "parts exchanged": f"{payload}.{head}.{tail}",
        "header twice": f"{head}.{head}.{tail}",
        "signature as payload": f"{head}.{tail}.{payload}",
        "twice": token * 2,
        "blank before": f" {token}",
        "blank inside": f"{head} .{payload}.{tail}",
        "blank after": f"{token} ",
        "tab after": f"{token}\t",
        "newline after": f"{token}\n",
        "newline inside": f"{head}.\n{payload}.{tail}",
        "header injection": f"{token}\r\nX-Admin: 1",
        "NUL after": f"{token}\0",
        "NUL inside": f"{head}\0.{payload}.{tail}",
        "in quotes": f'"{token}"',
        "in brackets": f"<{token}>",
        "in braces": f'{{"token":"{token}"}}',
        "percent-encoded": token.replace(".", "%2E"),
        "full stops of another script": token.replace(".", "\uff0e"),
        "letters of another script": token.replace("e", "\u0435", 1),
        "full width": "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in token),
        "zero-width space": f"{head}\u200b.{payload}.{tail}",
        "surrogate": f"{token}\ud800",
        "mark before": f"\ufeff{token}",
        "standard alphabet": f"{standard}.{payload}.{tail}",
        "plus and slash": f"{head}.{payload}.+/{tail[2:]}",
        "wrong padding": f"{head}.{payload}.{tail}=" if len(tail) % 4 != 3 else f"{token}==",
        "padding only": "=.=.=",
        "padding inside": f"{head[:4]}={head[4:]}.{payload}.{tail}",
        "in capitals": token.upper(),
        "in small letters": token.lower(),
        "backwards": token[::-1],
        "with a session": f"{token};session=1",
        "as a list": f"[{token}]",
        "JSON serialisation": json.dumps(
            {"payload": payload, "protected": head, "signature": tail}
        ),
        "word": "null",
        "another word": "undefined",
        "base64 of the token": base64url(token.encode()),
        "bare dots": "a.b.c",
    }.items():
        yield name, refuse(odd) if "," not in odd else in_header(f"Bearer {odd}", REFUSE, SEVERAL)
    padded = "=" * (-len(head) % 4)
    # PyJWT accepts what RFC 7515 forbids: one token would have several texts.
    if padded:
        yield "right padding on the header", refuse(f"{head}{padded}.{payload}.{tail}")
    yield "right padding on the signature", refuse(token + "=" * (-len(tail) % 4))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = alphabet[alphabet.index(tail[-1]) ^ 1]
    # The last character of these signatures has bits that no byte uses.
    yield "same bytes, another text", refuse(f"{head}.{payload}.{tail[:-1]}{other}")


def sizes(f: Forge) -> Named:
    def too_long(token: str) -> Case:
        return refuse(token, reason=f"the token has {len(token)} characters, the limit is 8192: ")

    yield "too long", too_long(f.claiming(name="x" * MAX_LENGTH))
    yield "with an avatar", too_long(f.claiming(image="data:image/png;base64," + "A" * 20_000))
    yield "one character too long", too_long(of_length(f, MAX_LENGTH + 1))
    yield "long header", too_long(f.with_header(x="x" * MAX_LENGTH))
    yield "long signature", too_long(f.token() + "A" * 60_000)
    yield "64 KiB of letters", too_long("A" * 65536)
    yield "64 KiB of dots", too_long("." * 65536)
    yield "1 MiB in three parts", too_long(".".join(["A" * 350_000] * 3))
    yield "many parts", refuse("a." * 4000 + "a", reason="the token is not a JSON Web Token")


def missing_claims(f: Forge) -> Named:
    missing = "MissingRequiredClaimError"
    yield "no exp", refuse(f.claiming(exp=...), reason=f"{missing}: exp")
    yield "no sub", refuse(f.claiming(sub=...), reason=f"{missing}: sub")
    yield "neither", refuse(f.claiming(sub=..., exp=...), reason=missing)
    yield "no iss", case(f.claiming(iss=...), REFUSE, ACCEPT, reason=f"{missing}: iss")
    yield "no aud", case(f.claiming(aud=...), REFUSE, ACCEPT, reason=f"{missing}: aud")
    yield "neither iss nor aud", case(f.claiming(iss=..., aud=...), REFUSE, ACCEPT)
    yield "only sub and exp", case(f.token(claims={"sub": USER, "exp": NOW + 1}), REFUSE, ACCEPT)


def expiries(f: Forge) -> Named:
    for name, exp in {
        "in a second": NOW + 1,
        "29 seconds ago": NOW - 29,
        "a float": NOW + 300.25,
        "a float with an exponent": Raw("1.8e9"),
        "in ten years": NOW + 315_360_000,
        "the end of 9999": MAX_EXPIRY,
    }.items():
        yield f"exp {name}", accept(f.claiming(exp=exp))
    for name, exp in {
        "30 seconds ago": NOW - 30,
        "31 seconds ago": NOW - 31,
        "an hour ago": NOW - 3600,
        "long ago": 1,
        "zero": 0,
        "negative": -1,
        "very negative": -(10**30),
        "900, a span": 900,
        "past, as a float": NOW - 31.5,
    }.items():
        reason = "ExpiredSignatureError"
        yield f"exp {name}", refuse(f.claiming(exp=exp), challenge=EXPIRED, reason=reason)
    for name, exp in {
        "null": None,
        "true": True,
        "false": False,
        "a word": "soon",
        "nothing": "",
        "digits": str(NOW + 300),
        "digits of a float": f"{NOW + 300}.0",
        "digits with underscores": f"{NOW + 300:_}",
        "digits with blanks": f" {NOW + 300} ",
        "digits with a sign": f"+{NOW + 300}",
        "Arabic digits": "".join(chr(0x660 + int(digit)) for digit in str(NOW + 300)),
        "hexadecimal": hex(NOW + 300),
        "a date": "2030-01-01T00:00:00Z",
        "a list": [NOW + 300],
        "a list of nothing": [],
        "an object": {"$date": NOW + 300},
        "NaN": Raw("NaN"),
        "Infinity": Raw("Infinity"),
        "-Infinity": Raw("-Infinity"),
        "1e999": Raw("1e999"),
        "1e300": Raw("1e300"),
        "4400 nines": Raw("9" * 4400),
        "4200 nines": Raw("9" * 4200),
        "milliseconds": (NOW + 300) * 1000,
        "microseconds": (NOW + 300) * 1_000_000,
        "astronomical": 10**30,
        "after the end of 9999": MAX_EXPIRY + 1,
    }.items():
        challenge = EXPIRED if type(exp) is bool else INVALID
        yield f"exp {name}", refuse(f.claiming(exp=exp), challenge=challenge)
    yield "exp 29.5 seconds ago", free(f.claiming(exp=NOW - 29.5))  # PyJWT cuts to seconds
    yield "exp before iat", free(f.claiming(iat=NOW + 20, exp=NOW + 5))


def other_times(f: Forge) -> Named:
    for claim in ("nbf", "iat"):
        for name, timestamp in {
            "a second ago": NOW - 1,
            "29 seconds ahead": NOW + 29,
            "30 seconds ahead": NOW + 30,
            "a float": NOW - 0.5,
            "years ago": NOW - 315_360_000,
            "zero": 0,
        }.items():
            yield f"{claim} {name}", accept(f.claiming(**{claim: timestamp}))
        for name, timestamp in {
            "31 seconds ahead": NOW + 31,
            "an hour ahead": NOW + 3600,
            "milliseconds": NOW * 1000,
            "astronomical": 10**30,
            "a word": "now",
            "a list": [NOW],
            "an object": {},
            "NaN": Raw("NaN"),
            "Infinity": Raw("Infinity"),
            "-Infinity": Raw("-Infinity"),
            "4400 nines": Raw("9" * 4400),
            "a date": "2020-01-01T00:00:00Z",
        }.items():
            yield f"{claim} {name}", refuse(f.claiming(**{claim: timestamp}))
        for name, timestamp in {
            "null": None,
            "digits": str(NOW),
            "true": True,
            "negative": -1,
        }.items():
            yield f"{claim} {name}", free(f.claiming(**{claim: timestamp}))
    yield "no iat", accept(f.claiming(iat=...))
    for jti in (7, None, [], {}, True):
        yield f"jti {jti!r}", refuse(f.claiming(jti=jti))


def subjects(f: Forge) -> Named:
    for name, subject in {
        "a digit": "7",
        "UUID": "0b0d7c1e-6b1f-4d1e-9b7a-0f8f5a3a2c11",
        "255 characters": "s" * 255,
        "e-mail": "alice@example.com",
        "slash": "a/b",
        "dots": "..",
        "quote": "a'b\"c",
        "blank inside": "a b",
        "percent": "%00",
        "umlauts": "Zoë-Müller",
        "another script": "用户",
        "emoji": "👩‍🚀",
        "combining": "e\u0301",
        "right to left": "\u202ebob",
        "zero-width": "a\u200bb",
        "__proto__": "__proto__",
        "null, the word": "null",
    }.items():
        yield f"sub {name}", accept(f.claiming(sub=subject), subject=subject)
    for name, subject in {
        "null": None,
        "number": 7,
        "float": 7.0,
        "true": True,
        "false": False,
        "list": [USER],
        "list of nothing": [],
        "object": {"id": USER},
        "empty": "",
        "blank": " ",
        "blank before": f" {USER}",
        "blank after": f"{USER} ",
        "no-break space after": f"{USER}\u00a0",
        "wide space before": f"\u3000{USER}",
        "newline after": f"{USER}\n",
        "newline inside": "a\nb",
        "tab inside": "a\tb",
        "NUL": "\0",
        "NUL after": f"{USER}\0",
        "NUL inside": "a\0b",
        "escape": "\x1b[31mbob",
        "delete": "bob\x7f",
        "C1 control": "bob\x85bob",
        "high surrogate": "bob\ud800",
        "low surrogate": "\udc00bob",
        "surrogates exchanged": "\udc00\ud800",
        "256 characters": "s" * 256,
        "5000 characters": "s" * 5000,
    }.items():
        yield f"sub {name}", refuse(f.claiming(sub=subject))


def audiences_and_issuers(f: Forge) -> Named:
    for claim, ours in (("aud", f.audience), ("iss", f.issuer)):
        wrong = {
            "other": "https://other.example",
            "empty": "",
            "prefix": ours[:-1],
            "longer": f"{ours}2",
            "slash after": f"{ours}/",
            "blank after": f"{ours} ",
            "blank before": f" {ours}",
            "newline after": f"{ours}\n",
            "NUL after": f"{ours}\0",
            "in capitals": ours.upper(),
            "userinfo": f"{ours}@evil.example",
            "star": "*",
            "comma list": f"{ours},{ours}",
        }
        for name, value in wrong.items():
            yield f"{claim} {name}", case(f.claiming(**{claim: value}), REFUSE, ACCEPT)
        odd = {"null": None, "number": 7, "true": True, "object": {ours: 1}, "no one": []}
        for name, value in odd.items():
            yield f"{claim} {name}", case(f.claiming(**{claim: value}), REFUSE, FREE)
    lists = {
        "of others": ["a", "b"],
        "with a number": [f.audience, 7],
        "with null": [f.audience, None],
        "in a list": [[f.audience]],
        "of letters": list(f.audience),
        "with ours longer": [f"{f.audience}2"],
    }
    for name, value in lists.items():
        yield f"aud list {name}", case(f.claiming(aud=value), REFUSE, FREE)
    yield "iss a list", case(f.claiming(iss=[f.issuer]), REFUSE, FREE)
    exchanged = f.claiming(iss=f.audience, aud=f.issuer)
    yield "iss and aud exchanged", case(exchanged, REFUSE, ACCEPT)
    yield (
        "aud of the session cache",
        case(
            f.claiming(aud="better-auth:session-cache"),
            REFUSE,
            ACCEPT,
            reason="InvalidAudienceError",
        ),
    )
    yield (
        "iss of a preview",
        case(
            f.claiming(iss="https://app-git-x.example.com"),
            REFUSE,
            ACCEPT,
            reason="InvalidIssuerError",
        ),
    )


def signatures(f: Forge) -> Named:
    token = f.token()
    head, payload, tail = token.split(".")
    signed = f"{head}.{payload}".encode()
    right = f.sign(signed)

    def signed_by(signature: bytes) -> Case:
        return refuse(f"{head}.{payload}.{base64url(signature)}")

    admin = base64url(text_of(f.claims(sub="admin")))
    yield "payload changed", refuse(f"{head}.{admin}.{tail}")
    later = base64url(text_of(f.claims(exp=NOW + 10**6)))
    yield "life prolonged", refuse(f"{head}.{later}.{tail}")
    typed = base64url(text_of(f.header(typ="JWT")))
    yield "header changed", refuse(f"{typed}.{payload}.{tail}")
    other = f.claiming(sub="bob").split(".")
    yield "signature of another user's token", refuse(f"{head}.{payload}.{other[2]}")
    yield "payload of another user's token", refuse(f"{head}.{other[1]}.{tail}")
    yield "signature of the payload alone", signed_by(f.sign(payload.encode()))
    yield "signature of the header alone", signed_by(f.sign(head.encode()))
    yield (
        "signature of the texts inside",
        signed_by(f.sign(text_of(f.header()) + text_of(f.claims()))),
    )
    yield "zeros", signed_by(bytes(len(right)))
    yield "ones", signed_by(b"\xff" * len(right))
    yield "one zero byte", signed_by(b"\0")
    yield "half", signed_by(right[: len(right) // 2])
    yield "without its last byte", signed_by(right[:-1])
    yield "without its first byte", signed_by(right[1:])
    yield "with one byte more", signed_by(right + b"\0")
    yield "with one byte before", signed_by(b"\0" + right)
    yield "twice", signed_by(right * 2)
    yield "backwards", signed_by(right[::-1])
    yield "in hexadecimal", signed_by(right.hex().encode())
    for position in (0, 1, len(right) // 2, len(right) - 2, len(right) - 1):
        for bit in (1, 128):
            flipped = bytearray(right)
            flipped[position] ^= bit
            yield f"bit {bit} of byte {position} flipped", signed_by(bytes(flipped))
    if f.algorithm == "HS256":
        for size in (1, 4, 24):
            yield f"first {size} bytes", signed_by(right[:size])
        for digest in ("md5", "sha1", "sha224", "sha3_256"):
            yield f"HMAC with {digest}", signed_by(by_hmac(SECRET, digest)(signed))
    if f.algorithm == "ES256":
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        r, s = int.from_bytes(right[:32]), int.from_bytes(right[32:])
        for name, (first, second) in {
            "r = 0": (0, s),
            "s = 0": (r, 0),
            "r = n": (order, s),
            "s = n": (r, order),
            "r = s = 1": (1, 1),
            "r = s = n - 1": (order - 1, order - 1),
            "exchanged": (s, r),
            "r = n - r": (order - r, s),
        }.items():
            yield name, signed_by(first.to_bytes(32) + second.to_bytes(32))
        # Every ECDSA signature has this twin: token texts are no identities.
        twin = r.to_bytes(32) + (order - s).to_bytes(32)
        yield "s = n - s", free(f"{head}.{payload}.{base64url(twin)}")
        yield "DER", signed_by(encode_dss_signature(r, s))
        yield "48 bytes each", signed_by(r.to_bytes(48) + s.to_bytes(48))
        yield "of SHA-384", signed_by(by_ec(ec_key("ours"), hashes.SHA384)(signed))
    if f.algorithm == "EdDSA":
        order = 2**252 + 27742317777372353535851937790883648493
        s = int.from_bytes(right[32:], "little") + order
        yield "S + L", signed_by(right[:32] + s.to_bytes(32, "little"))
        yield "S = 0", signed_by(right[:32] + bytes(32))
        yield "R of order one", signed_by(b"\1" + bytes(31) + right[32:])
        yield "R and S of nothing", signed_by(b"\1" + bytes(63))
    if f.algorithm == "RS256":
        modulus = rsa_key("ours").public_key().public_numbers().n
        value = int.from_bytes(right)
        yield "s + n", signed_by((value + modulus).to_bytes(257))
        yield "n - s", signed_by((modulus - value).to_bytes(256))
        yield "s = 1", signed_by((1).to_bytes(256))
        yield "s = n - 1", signed_by((modulus - 1).to_bytes(256))
        yield "of SHA-1", signed_by(by_rsa(rsa_key("ours"), hashes.SHA1)(signed))
        yield "PSS", signed_by(by_pss(rsa_key("ours"))(signed))
        yield "of a 1024-bit key", signed_by(by_rsa(rsa_key("short", 1024))(signed))


def schemes(f: Forge) -> Named:
    """The complete Authorization header."""
    token = f.token()
    for scheme in ("bearer", "BEARER", "bEaReR"):
        yield f"scheme {scheme}", in_header(f"{scheme} {token}", ACCEPT)
    for name, value in {
        "absent": None,
        "empty": "",
        "blank": " ",
        "token alone": token,
        "Basic": "Basic YWxpY2U6c2VjcmV0",
        "Basic and the token": f"Basic {token}",
        "Token": f"Token {token}",
        "JWT": f"JWT {token}",
        "Bearers": f"Bearers {token}",
        "no blank": f"Bearer{token}",
        "colon": f"Bearer: {token}",
        "equals": f"Bearer={token}",
        "tab": f"Bearer\t{token}",
        "no-break space": f"Bearer\u00a0{token}",
        "blank before": f" Bearer {token}",
        "scheme of another script": f"\u0412earer {token}",
        "Digest": "Digest username=alice",
    }.items():
        yield name, in_header(value, REFUSE, NO_TOKEN)
    for name, value in {
        "scheme alone": "Bearer",
        "scheme and blank": "Bearer ",
        "three blanks": f"Bearer   {token}",
        "two tokens": f"Bearer {token} {token}",
        "two schemes": f"Bearer Bearer {token}",
        "semicolon": f"Bearer {token};",
        "parameter": f'Bearer token="{token}"',
    }.items():
        yield name, in_header(value, REFUSE)
    for name, value in {
        "joined": f"Bearer {token}, Bearer {token}",
        "joined without blank": f"Bearer {token},Bearer {token}",
        "joined with Basic": f"Basic YWxpY2U6c2VjcmV0, Bearer {token}",
        "joined with nothing": f"Bearer {token},",
        "joined tokens": f"Bearer {token},{token}",
        "comma before": f",Bearer {token}",
    }.items():
        yield name, in_header(value, REFUSE, SEVERAL)


def lifetimes(f: Forge) -> Named:
    """With a maximum lifetime."""
    for name, claims, verdict in (
        ("as long as allowed", {"exp": NOW + LIFETIME}, ACCEPT),
        ("a second longer", {"exp": NOW + LIFETIME + 1}, REFUSE),
        ("ten years", {"exp": NOW + 315_360_000}, REFUSE),
        ("long, half over", {"iat": NOW - LIFETIME, "exp": NOW + 1}, REFUSE),
        ("long, in the leeway", {"iat": NOW - LIFETIME - 1, "exp": NOW}, REFUSE),
        ("no iat", {"iat": ..., "exp": NOW + LIFETIME}, ACCEPT),
        ("no iat, long", {"iat": ..., "exp": NOW + LIFETIME + 1}, REFUSE),
        ("iat as digits", {"iat": str(NOW), "exp": NOW + 60}, REFUSE),
        ("iat ahead, long", {"iat": NOW + 20, "exp": NOW + 20 + LIFETIME + 1}, REFUSE),
        ("iat negative", {"iat": -1, "exp": NOW + 60}, REFUSE),
        ("iat true", {"iat": True, "exp": NOW + 60}, REFUSE),
        ("floats", {"iat": NOW - 0.5, "exp": NOW + 60.5}, ACCEPT),
    ):
        yield name, Case("", f"Bearer {f.claiming(**claims)}", {"capped": verdict})


def rotation(f: Forge) -> Named:
    """With a previous secret."""
    if not f.symmetric:
        return
    before = by_hmac(PREVIOUS_SECRET)
    for name, token, verdict, challenge in (
        ("of the new secret", f.token(), ACCEPT, INVALID),
        ("of the previous secret", f.token(sign=before), ACCEPT, INVALID),
        ("of a third secret", f.token(sign=f.foreign), REFUSE, INVALID),
        ("of both", f.token(sign=by_hmac(SECRET + PREVIOUS_SECRET)), REFUSE, INVALID),
        (
            "of the previous secret, expired",
            f.token(claims=f.claims(exp=NOW - 60), sign=before),
            REFUSE,
            EXPIRED,
        ),
        (
            "of the previous secret, no sub",
            f.token(claims=f.claims(sub=...), sign=before),
            REFUSE,
            INVALID,
        ),
        (
            "of the previous secret, another typ",
            f.token(header=f.header(typ="logout+jwt"), sign=before),
            REFUSE,
            INVALID,
        ),
        ("alg none", f.with_header(alg="none"), REFUSE, INVALID),
    ):
        yield name, Case("", f"Bearer {token}", {"rotated": verdict}, challenge=challenge)


KINDS: dict[str, Callable[[Forge], Named]] = {
    "good": good,
    "algorithms": algorithms,
    "confusion": confusion,
    "foreign keys": foreign_keys,
    "key ids": key_ids,
    "odd entries": odd_entries,
    "critical": critical,
    "purposes": purposes,
    "oauth tokens": oauth_tokens,
    "better auth look alikes": better_auth_look_alikes,
    "structures": structures,
    "segments": segments,
    "sizes": sizes,
    "missing claims": missing_claims,
    "expiries": expiries,
    "other times": other_times,
    "subjects": subjects,
    "audiences and issuers": audiences_and_issuers,
    "signatures": signatures,
    "schemes": schemes,
    "lifetimes": lifetimes,
    "rotation": rotation,
}


@cache
def table(algorithm: str) -> tuple[Case, ...]:
    """Every case for this algorithm; the same tokens throughout a test run."""
    forge = Forge(algorithm, signing(algorithm, "ours"), signing(algorithm, "foreign"))
    return tuple(
        replace(entry, name=name, kind=kind)
        for kind, cases in KINDS.items()
        for name, entry in cases(forge)
    )


def signing_with(algorithm: str, key: Any) -> Sign:
    if algorithm == "EdDSA":
        return key.sign
    return by_ec(key) if algorithm == "ES256" else by_rsa(key)


@cache
def good_entries(algorithm: str) -> dict[str, Any]:
    """Keys that verify, by their kid."""
    return {
        name: private_key(algorithm, "beside ours")
        for name in ("without alg", "without use", "with x5c", "with odd members", "")
    }


@cache
def bad_entries(algorithm: str) -> dict[str, Any]:
    """Keys that must not be loaded, by their kid."""
    weak = {
        "EdDSA": ed448_key("of another curve"),
        "ES256": ec_key("of another curve", ec.SECP384R1),
        "RS256": rsa_key("short", 1024),
    }
    names = ("for encryption", "for another alg", "private", "alg null")
    odd = dict.fromkeys(names, private_key(algorithm, "odd"))
    return odd | {"weak": weak[algorithm]}


@cache
def key_set_of_table(algorithm: str) -> str:
    """The key set of the issuer: its key beside every kind of unusual entry."""
    fine, bad = good_entries(algorithm), bad_entries(algorithm)
    nameless = private_key(algorithm, "odd")
    other_alg = {"EdDSA": "ES256", "ES256": "ES384", "RS256": "PS256"}[algorithm]
    return key_set(
        None,
        7,
        "key",
        [],
        {},
        {"kid": KID},
        {"kty": "OKP", "crv": "Ed25519", "kid": "without x"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "short x", "x": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "x no text", "x": 7},
        {"kty": "EC", "crv": "P-256", "kid": "off the curve", "x": "A" * 43, "y": "A" * 43},
        {"kty": "EC", "crv": ["P-256"], "kid": "crv a list"},
        {"kty": "RSA", "kid": "n no base64", "n": "!!!", "e": "AQAB"},
        {"kty": "RSA", "kid": "e null", "n": "AQAB", "e": None},
        {"kty": "RSA", "kid": ["a", "list"], "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "kid": "symmetric", "alg": algorithm, "k": base64url(SECRET.encode())},
        {"kty": "oct", "kid": "symmetric HS256", "alg": "HS256", "k": base64url(SECRET.encode())},
        jwk(nameless, None),
        jwk(nameless, ...),
        jwk(nameless, 7),
        private_jwk(bad["private"], "private"),
        jwk(bad["for encryption"], "for encryption", use="enc"),
        jwk(bad["for another alg"], "for another alg", alg=other_alg),
        jwk(bad["alg null"], "alg null", alg=None),
        jwk(bad["weak"], "weak", alg=...),
        jwk(private_key(algorithm, "ours"), KID),
        jwk(fine["without alg"], "without alg", alg=...),
        jwk(fine["without use"], "without use"),
        jwk(fine["with x5c"], "with x5c", x5c=["MIIB"], use="sig"),
        jwk(fine["with odd members"], "with odd members", key_ops=["verify"], ext=True, iat=7),
        jwk(fine[""], ""),
        *(jwk(private_key(other, "ours"), f"ours {other}") for other in ALGORITHMS[1:]),
    )


def variables(algorithm: str, deployment: str) -> dict[str, str]:
    """The environment of a deployment in the table."""
    mcp, deployment = deployment.startswith("mcp "), deployment.removeprefix("mcp ")
    set_of_keys = {} if algorithm == "HS256" else {"JWKS": key_set_of_table(algorithm)}
    return {
        "JWT_ALGORITHM": algorithm,
        "BETTER_AUTH_SECRET": SECRET,
        **set_of_keys,
        **({} if deployment == "bare" else {"JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}),
        **({"JWT_MAX_LIFETIME": str(LIFETIME)} if deployment == "capped" else {}),
        **({"BETTER_AUTH_SECRET_PREVIOUS": PREVIOUS_SECRET} if deployment == "rotated" else {}),
        **({"MCP_RESOURCE": RESOURCE, "MCP_AUTHORIZATION_SERVER": SERVER} if mcp else {}),
    }
