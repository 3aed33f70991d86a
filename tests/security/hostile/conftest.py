"""Prints at the end of a run what its tests counted."""

import pytest

FIGURES = "figures"
LEAK_TEST = "test_no_canary_leaks"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.stats.get("passed", [])
    lines = [line for report in passed for name, line in report.user_properties if name == FIGURES]
    if count := sum(LEAK_TEST in report.nodeid for report in passed):
        lines.append(f"leaks: {count} provocations, no canary leaked")
    if lines:
        terminalreporter.section("hostile")
        terminalreporter.write_line("\n".join(lines))
