"""`make token USER=alice`: prints a local HS256 token, signed as a frontend would sign it."""

import os
import sys
import time
from pathlib import Path

import jwt
from dotenv import dotenv_values

from dev.running_server import find_server
from lib.http_client import TransportError, request
from lib.settings import EXAMPLE_SECRET, Settings, SettingsError, read_settings

LIFETIME = 24 * 3600  # seconds


def make_token(user: str, secret: str, settings: Settings) -> str:
    """Return a token for the user with this id that an API with these settings accepts.

    It is valid for 24 hours, or for JWT_MAX_LIFETIME if that is shorter.
    """
    now = int(time.time())
    claims = {
        "sub": user,
        "name": user,
        "email": f"{user}@example.com",
        "iat": now,
        "exp": now + min(LIFETIME, settings.JWT_MAX_LIFETIME or LIFETIME),
    }
    if settings.JWT_ISSUER:
        claims["iss"] = settings.JWT_ISSUER
    if settings.JWT_AUDIENCE:
        claims["aud"] = settings.JWT_AUDIENCE
    return jwt.encode(claims, secret, algorithm="HS256")


def main() -> None:
    [user] = sys.argv[1:] or [""]
    if not user:
        sys.exit("Name the user: make token USER=alice")
    file = {k: v for k, v in dotenv_values(Path(__file__).parent.parent / ".env").items() if v}
    try:
        settings = read_settings({"BETTER_AUTH_SECRET": EXAMPLE_SECRET, **file, **os.environ})
    except SettingsError as error:
        sys.exit(str(error))
    if settings.JWT_ALGORITHM != "HS256":
        sys.exit(f"Only your Better Auth server can issue {settings.JWT_ALGORITHM} tokens.")
    token = make_token(user, settings.shared_secrets[0], settings)
    print(token)
    # Only in a terminal: scripts need the token alone, as in AUTH="Bearer $(make -s token ...)".
    if sys.stdout.isatty() and (server := find_server()):
        header = f"Authorization: Bearer {token}"
        if is_rejected(server.url, header):
            print(
                f"\nThe server at {server.url} rejects it, because it runs with other settings:"
                " set BETTER_AUTH_SECRET in .env, and start the server again."
            )
        else:
            path = f"{server.url}/api/{user}/tasks"
            print(f"\nTry it on the running server:\ncurl {path} -H '{header}'")


def is_rejected(url: str, header: str) -> bool:
    """Whether the server answers 401."""
    name, _, value = header.partition(": ")
    try:
        response = request("GET", f"{url}/api/tasks?limit=1", timeout=3, headers={name: value})
    except TransportError:
        return False  # it is starting or busy
    return response.status == 401


if __name__ == "__main__":
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # of `make token | head`
        # Python would try again to write what is left when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
