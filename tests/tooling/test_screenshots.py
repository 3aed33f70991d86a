"""The pictures in README.md show the example as it is."""

from tests.integrations.example.screenshots import DIGEST, IMAGES, PICTURES, digest_of_sources


def test_the_pictures_are_of_this_version_of_the_page() -> None:
    assert DIGEST.read_text() == digest_of_sources() + "\n", "Run make screenshots."
    for name in PICTURES:
        assert (IMAGES / name).read_bytes().startswith(b"\x89PNG")
