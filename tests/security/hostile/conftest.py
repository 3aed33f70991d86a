"""Shows at the end of a run what its tests counted."""

import pytest

FIGURES = "figures"
OF_LEAKS = "test_no_canary_is_heard"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.stats.get("passed", [])
    lines = [line for report in passed for name, line in report.user_properties if name == FIGURES]
    if quiet := sum(OF_LEAKS in report.nodeid for report in passed):
        lines.append(f"leaks: {quiet} troubles, no canary heard in any of them")
    if lines:
        terminalreporter.section("hostile")
        terminalreporter.write_line("\n".join(lines))
