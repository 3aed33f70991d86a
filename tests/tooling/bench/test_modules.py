"""The benchmark's own modules fit the code that they use."""

from importlib import import_module


def test_the_benchmark_can_be_imported() -> None:
    assert callable(import_module("bench.__main__").main)
