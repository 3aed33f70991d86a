"""Runs queries of CloudWatch Logs Insights on log lines: the part of the language that we use.

As in CloudWatch, true is 1, and the first item of an array `a` is the field `a.0`; there is no
field `a`. A command or function that is not known raises an error.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

type Line = dict[str, Any]

SECONDS = {"m": 60, "h": 3600}
TERM = re.compile(r'ispresent\(([\w.]+)\)|([\w.@]+) (=|>=|<) (?:"([^"]*)"|(\d+))')
AGGREGATE = re.compile(r"(count|sum|avg|min|max|pct)\((\*|[\w.@]+)(?:, (\d+))?\)( \* 100)?")


def run(query: str, lines: Iterable[Line]) -> list[Line]:
    """The rows of the result."""
    rows = [_flat(line) for line in lines]
    for command in re.split(r" \| ", query.strip()):
        name, _, rest = command.partition(" ")
        rows = COMMANDS[name](rest, rows)
    return rows


def percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _flat(value: Any, name: str = "") -> Line:
    match value:
        case dict():
            items = value.items()
        case list():
            items = enumerate(value)
        case bool():
            return {name: int(value)}
        case _:
            return {"@timestamp" if name == "timestamp" else name: value}
    prefix = f"{name}." if name else ""
    return {k: v for key, each in items for k, v in _flat(each, f"{prefix}{key}").items()}


def _filter(condition: str, rows: list[Line]) -> list[Line]:
    return [
        row
        for row in rows
        if any(
            all(_holds(term, row) for term in alternative.split(" and "))
            for alternative in condition.split(" or ")
        )
    ]


def _holds(term: str, row: Line) -> bool:
    found = TERM.fullmatch(term)
    assert found, f"not understood: {term}"
    present, name, operator, text, number = found.groups()
    if present:
        return present in row
    value = row.get(name)
    if text is not None:
        assert operator == "=", term
        return value == text
    if not isinstance(value, int | float):
        return False
    return {"=": value == int(number), ">=": value >= int(number), "<": value < int(number)}[
        operator
    ]


def _stats(text: str, rows: list[Line]) -> list[Line]:
    aggregates, _, by = text.partition(" by ")
    groups: dict[tuple, list[Line]] = {}
    names = by.split(", ") if by else []
    for row in rows:
        groups.setdefault(tuple(_group(name, row) for name in names), []).append(row)
    return [
        dict(zip(names, key, strict=True))
        | dict(_aggregate(each, group) for each in re.split(r", (?=\w+\()", aggregates))
        for key, group in groups.items()
    ]


def _group(name: str, row: Line) -> Any:
    if not (found := re.fullmatch(r"bin\((\d+)([mh])\)", name)):
        return row.get(name)
    seconds = int(found[1]) * SECONDS[found[2]]
    time = datetime.fromisoformat(row["@timestamp"])
    return (time - timedelta(seconds=time.timestamp() % seconds)).isoformat()


def _aggregate(text: str, rows: list[Line]) -> tuple[str, Any]:
    expression, _, name = text.partition(" as ")
    found = AGGREGATE.fullmatch(expression)
    assert found, f"not understood: {expression}"
    function, field, percent, times_100 = found.groups()
    if field == "*":
        assert function == "count", text
        return name, len(rows)
    values = [row[field] for row in rows if field in row]
    if not values:
        return name, None
    value = percentile(values, int(percent)) if function == "pct" else FUNCTIONS[function](values)
    return name, value * 100 if times_100 else value


def _fields(text: str, rows: list[Line]) -> list[Line]:
    return [{name: row.get(name) for name in text.split(", ")} for row in rows]


def _sort(text: str, rows: list[Line]) -> list[Line]:
    for key in reversed(text.split(", ")):
        name, _, order = key.partition(" ")
        rows = sorted(rows, key=lambda row: row[name] or 0, reverse=order == "desc")
    return rows


FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "sum": sum, "avg": fmean, "min": min, "max": max, "count": len,
}  # fmt: skip
COMMANDS: dict[str, Callable[[str, list[Line]], list[Line]]] = {
    "SOURCE": lambda _, rows: rows,
    "filter": _filter,
    "stats": _stats,
    "fields": _fields,
    "sort": _sort,
    "limit": lambda number, rows: rows[: int(number)],
}
