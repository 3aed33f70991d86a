"""Remembering a verified signature changes no verdict: RFC 8725, section by section.

- 3.1 and 3.2, algorithm verification and appropriate algorithms: PyJWT compares the algorithm with
  the setting and with that of the key. A result is reused for the same algorithms and options only.
- 3.3, validate all cryptographic operations: only a token whose signature was verified is
  remembered, by the SHA-256 of all of its characters, with the key object that verified it.
- 3.4 and 3.5, inputs and keys: a key that was replaced, removed or rotated is another object, so
  its tokens are verified again. Key lengths are checked when a key verifies a token first.
- 3.6 (compression) and 3.7 (UTF-8): unchanged; a remembered payload was parsed by PyJWT.
- 3.8 and 3.9, issuer, subject and audience: checked on every request.
- 3.10, received claims are not trusted: the key id of a remembered header selects a key, as that of
  a new one does, and the result counts for this key alone.
- 3.11 and 3.12, explicit typing and rules for different kinds of tokens: `typ` and the claims of
  OAuth tokens are checked on every request.

Not in RFC 8725: `exp`, `nbf` and `iat` are checked on every request (RFC 7519, section 4.1). A
remembered token takes less time. The duration shows that the instance has seen the token, but only
to a client that has the token already.
"""

from types import FunctionType

import pytest

from api import tasks
from lib.auth import jwks, signatures, tokens
from tests.security.auth.remembered import CHECKS, forge, result, run, symmetric

MODULES = {"jwks": jwks, "signatures": signatures, "tokens": tokens}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_check(check: FunctionType) -> None:
    run(check, MODULES)


def test_the_function_forgets_at_its_end_and_before_a_snapshot() -> None:
    result(MODULES, forge().token(), symmetric())
    assert signatures._verifier is not None
    tasks.app.state.at_exit()
    assert signatures._verifier is None
