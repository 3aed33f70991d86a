"""The emulator target: serverless-offline, as `make offline` runs it."""

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dev.offline import CannotEmulate, emulator
from tests.support.targets.local import free_port

_CORS = "the emulator adds its own CORS headers to every response that has none"
_ID = "the emulator gives every request the same id"
_HEAD = "the emulator adds accept-ranges to a response with a body"
_TWICE = "the emulator forwards only one of several headers with the same name"
_UTF8 = "the emulator replaces bytes that are not valid UTF-8 in a body"
_REWRITTEN = "the emulator rewrites a body that is null or a JSON string"
_OWN = "the emulator rejects the request itself, with its own message"
_FORWARDED = "the emulator forwards a header that API Gateway replaces"
_CONCURRENT = "the emulator starts a process for each concurrent request"

DEVIATIONS = {
    r"test_another_origin_may_read_no_response\[.*": _CORS,
    r"test_an_allowed_origin_may_read_every_response\[.*": _CORS,
    r"test_only_the_exact_origin_is_allowed\[.*": _CORS,
    r"test_a_preflight_allows_every_method_and_header_of_the_api\[.*": _CORS,
    r"test_every_response_has_a_new_request_id_without_one_from_the_client\[.*": _ID,
    r"test_head_of_a_list_is_get_without_the_body\[(?!\?limit=0).*": _HEAD,
    r"test_head_of_a_task_is_get_without_the_body\[.*": _HEAD,
    r"test_head_of_a_public_page_is_get_without_the_body\[.*": _HEAD,
    r"test_two_authorization_headers_are_refused": _TWICE,
    # Not where the forwarded header is the invalid one: then the request is refused here too.
    r"test_several_authorization_headers_are_refused\[\w+-(?!mine, [Beb]|joined).*": _TWICE,
    r"test_tags_in_several_headers_are_one_list": _TWICE,
    r"test_a_malformed_idempotency_key_creates_nothing\[.*nIdempotency-Key.*": _TWICE,
    r"test_a_body_that_is_not_json_is_422\[.*(UTF-8|Latin-1|Unicode).*": _UTF8,
    r"test_the_server_still_works_after_all_invalid_bodies": _UTF8,
    r"test_what_is_not_json_is_a_parse_error\[7\]": _UTF8,
    r"test_what_is_not_a_request_is_refused\[(None|x)\]": _REWRITTEN,
    r"test_a_malformed_content_type_is_rejected\[.*": _OWN,
    r"test_encoded_and_empty_parts_of_a_path_never_reach_a_task\[/api/%(FF|ED|/|zz).*": _OWN,
    r"test_a_malformed_host_causes_no_server_error\[Host not a name\]": _FORWARDED,
}
NOT_RUN = {
    r"test_.*parallel.*": _CONCURRENT,
}


@contextmanager
def serve(environment: Mapping[str, str]) -> Generator[str]:
    """Run the emulator with these variables; gives its base URL."""
    with tempfile.NamedTemporaryFile(prefix="offline-", suffix=".log") as log:
        try:
            with emulator(environment, free_port(), free_port(), log) as url:
                yield url
        except CannotEmulate as error:
            printed = Path(log.name).read_text(errors="replace")
            raise RuntimeError(f"{error}\n{printed}") from error
