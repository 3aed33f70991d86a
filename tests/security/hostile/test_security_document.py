"""SECURITY.md names tests, targets, pages and figures that exist."""

import re

import pytest

from dev.serve import ROOT
from lib.web.middleware import SECURITY_HEADERS
from tests.security.hostile.cross_tenant import attempts
from tests.security.hostile.provocations import PROVOCATIONS
from tests.security.hostile.raw_requests import raw_requests

PAGE = (ROOT / "SECURITY.md").read_text()


def test_every_path_that_it_names_exists() -> None:
    paths = re.findall(r"`((?:tests|docs|lib)/[\w/.]+)`", PAGE)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_target_that_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`make ([a-z-]+)`", PAGE))
    assert named >= {"audit", "sbom", "hostile"}
    assert {name for name in named if not re.search(rf"^{name}:", makefile, re.M)} == set()


def test_every_page_and_heading_that_it_links_exists() -> None:
    links = re.findall(r"\]\((docs/\w+\.md)#([\w-]+)\)", PAGE)
    assert links
    for page, anchor in links:
        headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.M)
        anchors = {
            re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings
        }
        assert anchor in anchors, page


def test_its_figures_are_not_above_what_is_tested() -> None:
    assert len(list(attempts())) >= 1100
    assert len(list(raw_requests(b"/", "token"))) >= 690
    assert f"{len(PROVOCATIONS)} kinds of failure" in PAGE


@pytest.mark.parametrize(("name", "value"), SECURITY_HEADERS)
def test_it_names_every_header(name: bytes, value: bytes) -> None:
    assert name.decode() in PAGE.lower()
    if name != b"strict-transport-security":
        assert value.decode() in PAGE


def test_its_throttle_is_that_of_the_stack() -> None:
    stack = (ROOT / "serverless.yml").read_text()
    [rate] = re.findall(r"throttlingRate: (\d+)", stack)
    [burst] = re.findall(r"throttlingBurst: (\d+)", stack)
    assert f"{rate} requests a second and bursts of {burst}" in PAGE
