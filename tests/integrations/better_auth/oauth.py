"""An OAuth client of Better Auth, as an AI assistant is one, and the browser of its user."""

import base64
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.integrations.better_auth.servers import BetterAuth, Person

REDIRECT_URI = "https://assistant.example/callback"
PATH = "/api/auth/oauth2"
PASSWORD = "a-password-of-a-test"


@dataclass
class OAuthClient:
    """A registered client. `secret` is None for a public one."""

    auth: BetterAuth
    id: str
    secret: str | None = None

    def token(
        self,
        person: Person,
        scope: str = "openid offline_access tasks:read tasks:write",
        *,
        resource: str | None = None,
        granted: str | None = None,
    ) -> dict[str, Any]:
        """The token response for a user who consents to `scope`, or to the narrower `granted`."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=")
        indicated = {} if resource is None else {"resource": resource}
        query = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": REDIRECT_URI,
            "scope": scope,
            "state": "a-state",
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
            **indicated,
        }
        code = authorize(person, f"{self.auth.url}{PATH}/authorize", query, granted)["code"]
        return self.post(
            grant_type="authorization_code",
            code=code,
            redirect_uri=REDIRECT_URI,
            code_verifier=verifier,
            **indicated,
        )

    def refresh(self, refresh_token: str, resource: str) -> dict[str, Any]:
        return self.post(grant_type="refresh_token", refresh_token=refresh_token, resource=resource)

    def post(self, **form: str) -> dict[str, Any]:
        """The response of the token endpoint."""
        form["client_id"] = self.id
        if self.secret:
            form["client_secret"] = self.secret
        response = httpx2.post(f"{self.auth.url}{PATH}/token", data=form, timeout=20)
        assert response.status_code == 200, response.text
        return response.json()


def authorize(
    person: Person, url: str, query: dict[str, str] | None = None, granted: str | None = None
) -> dict[str, str]:
    """Open the authorization URL, consent, and return the parameters for the redirect URI."""
    response = person.browser.get(url, params=query)
    assert response.status_code == 302, response.text
    location = urlsplit(response.headers["location"])
    if location.path == "/sign-in":
        # As oauthProviderClient() sends it from the sign-in page.
        body = {"email": person.email, "password": PASSWORD, "oauth_query": location.query}
        response = person.browser.post("/api/auth/sign-in/email", json=body)
        assert response.status_code == 200, response.text
        location = urlsplit(response.json()["url"])
    if location.path == "/consent":
        answer = {"accept": True, "oauth_query": location.query}
        if granted is not None:
            answer["scope"] = granted
        response = person.browser.post(f"{PATH}/consent", json=answer)
        assert response.status_code == 200, response.text
        location = urlsplit(response.json()["url"])
    parameters = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert "code" in parameters, location.geturl()
    return parameters


def register(auth: BetterAuth) -> OAuthClient:
    """Register a public client, as claude.ai does: dynamically and without signing in."""
    metadata = {
        "client_name": "An assistant",
        "redirect_uris": [REDIRECT_URI],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }
    response = httpx2.post(f"{auth.url}{PATH}/register", json=metadata, timeout=20)
    assert response.status_code == 201, response.text
    return OAuthClient(auth, response.json()["client_id"])


def register_machine(person: Person, auth: BetterAuth) -> OAuthClient:
    """Register a client that acts for itself, as a signed-in user may."""
    metadata = {
        "client_name": "A machine",
        "redirect_uris": [REDIRECT_URI],
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["client_credentials"],
        "response_types": [],
    }
    response = person.browser.post(f"{PATH}/register", json=metadata)
    assert response.status_code == 201, response.text
    return OAuthClient(auth, response.json()["client_id"], response.json()["client_secret"])
