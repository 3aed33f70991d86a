"""Writes the tables of docs/growth.md."""

import math

from bench.growth.assumptions import ASSUMPTIONS, MIX, USERS
from bench.growth.measure import CLUSTERED, Figures
from bench.growth.model import PRICES, Growth, grow, limits, per_request, row_bytes
from dev.pages import ROOT, with_block

PAGE = ROOT / "docs" / "growth.md"
TITLES = {
    "list": "list of 100", "page": "page of 50", "get": "get", "changes": "changes, none new",
    "create": "create", "toggle": "toggle", "update": "update", "delete": "delete",
}  # fmt: skip
KINDS = {
    "users": "user", "tasks": "task", "deleted_tasks": "task in the trash",
    "idempotency_keys": "record of an idempotency key",
}  # fmt: skip


def write_page(figures: Figures) -> None:
    """Write all tables into docs/growth.md."""
    PAGE.write_text(with_tables(PAGE.read_text(), figures))


def with_tables(page: str, figures: Figures) -> str:
    """Return the page with new tables. Raises ValueError if one has no place in it."""
    for name, table in tables(figures).items():
        page = with_block(page, "make growth", table, name)
    return page


def tables(figures: Figures) -> dict[str, str]:
    """Return the tables by name."""
    measured, simulated = figures["measured"], figures["simulated"]
    # Most blocks of a larger database are outside of PostgreSQL's own cache, which takes CPU time.
    predicting = measured | {"requests": simulated["requests"]}
    grown = [grow(predicting, users) for users in USERS]
    return {
        "limits": _limits(predicting),
        "growth": _growth(grown),
        "money": _money(grown),
        "sizes": _sizes(measured, simulated),
        "requests": _requests(measured, simulated),
        "assumptions": _assumptions(),
        "prices": _prices(),
    }


def two_digits(value: float) -> str:
    """Return a number with two significant digits, in words from a thousand million on."""
    if value <= 0:
        return "0"
    digits = 1 - math.floor(math.log10(value))
    value = round(value, digits)
    if value >= 1e9:
        return f"{two_digits(value / 1e9)} billion"
    if value >= 1e6:
        return f"{two_digits(value / 1e6)} million"
    return f"{value:,.{max(0, 1 - math.floor(math.log10(value)))}f}"


def size(value: float) -> str:
    """Return a number of bytes with two significant digits and a unit."""
    for unit, bytes_ in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= bytes_:
            return f"{two_digits(value / bytes_)} {unit}"
    return f"{two_digits(value / 1e3)} KB"


def _table(header: list[str], lines: list[list[str]], *, left: int = 1) -> str:
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    rows = [f"| {' | '.join(cells)} |" for cells in (header, *lines)]
    return "\n".join([rows[0], f"|{'|'.join(rule)}|", *rows[1:]])


def _limits(figures: Figures) -> str:
    header = ["limit", "value", "remedy", "reached at users"]
    lines = [
        [each.name, each.value, each.remedy, two_digits(each.users)] for each in limits(figures)
    ]
    return _table(header, lines, left=3)


def _growth(grown: list[Growth]) -> str:
    rows = {
        "tasks": lambda at: two_digits(at.tasks),
        "requests per day": lambda at: two_digits(at.requests_per_day),
        "requests per second at the peak": lambda at: two_digits(at.peak_rate),
        "tables and indexes": lambda at: size(at.storage),
        "data that one day's users read": lambda at: size(at.hot_bytes),
        "the same, after `CLUSTER` by user": lambda at: size(at.hot_clustered),
        "write-ahead log per day": lambda at: size(at.wal_per_day),
        "responses per month": lambda at: size(at.sent_per_month),
        "processors of PostgreSQL at the peak": lambda at: two_digits(at.processors),
        "compute units (CU) of one database": lambda at: f"{at.compute:g}",
        "share of that data in memory": lambda at: f"{at.in_memory:.0%}",
        "transactions at the same time": lambda at: two_digits(at.backends),
        "Lambda: sandboxes, one connection each": lambda at: f"{at.sandboxes:,}",
        "Vercel: instances, up to 8 connections each": lambda at: f"{at.vercel_instances:,}",
        "expired idempotency records per day": lambda at: two_digits(at.expired_records_per_day),
        "days until a forced vacuum of the table": lambda at: two_digits(at.vacuum_days),
    }
    header = ["users", *(f"{at.users:,}" for at in grown)]
    return _table(header, [[name, *map(cell, grown)] for name, cell in rows.items()])


def _money(grown: list[Growth]) -> str:
    header = ["US dollars per month", *(f"{at.users:,}" for at in grown)]
    lines = []
    for title, part in (("Neon", "neon"), ("AWS", "aws"), ("Vercel", "vercel")):
        of_part = [getattr(at, part) for at in grown]
        lines.append(
            [f"**{title}**", *(f"**{two_digits(sum(each.values()))}**" for each in of_part)]
        )
        lines += [
            [f"{title}: {name}", *(two_digits(each[name]) for each in of_part)]
            for name in of_part[0]
        ]
    for title, part in (("AWS", "aws"), ("Vercel", "vercel")):
        totals = [sum(at.neon.values()) + sum(getattr(at, part).values()) for at in grown]
        lines.append([f"**{title} and Neon**", *(f"**{two_digits(each)}**" for each in totals)])
    return _table(header, lines)


def _sizes(measured: Figures, simulated: Figures) -> str:
    header = ["table or index", "bytes of a row", "predicted", "simulated", "simulated / predicted"]
    lines, totals = [], {}
    for name, relation in measured["relations"].items():
        each, found = row_bytes(measured, name), simulated["relations"][name]
        predicted = each * found["rows"]
        table = relation["table"]
        total = totals.setdefault(table, [0.0, 0.0, 0.0])
        for number, value in enumerate((each, predicted, found["bytes"])):
            total[number] += value
        if table == "tasks":
            lines.append(_compared(name, each, predicted, found["bytes"]))
    lines += [_compared(f"**{KINDS[table]}, in total**", *total) for table, total in totals.items()]
    return _table(header, lines)


def _compared(name: str, each: float, predicted: float, found: float) -> list[str]:
    return [name, f"{each:,.0f}", size(predicted), size(found), f"{found / predicted:.2f}"]


def _requests(measured: Figures, simulated: Figures) -> str:
    header = [
        "request", "indexes", "share", "PostgreSQL ms", "function ms", "response", "log bytes",
        "rows read", "blocks read",
    ]  # fmt: skip
    lines = []
    for kind, share in MIX.items():
        small, large = (each["requests"][kind] for each in (measured, simulated))
        lines.append(
            [
                TITLES[kind],
                ", ".join(large["indexes"]),
                f"{share:.0%}",
                f"{small['postgres_ms']:.2f} / {large['postgres_ms']:.2f}",
                f"{small['function_ms']:.2f}",
                size(small["response_bytes"]),
                two_digits(small["wal_bytes"]),
                f"{small['rows']} / {large['rows']}",
                f"{small['blocks']:.0f} / {large['blocks']:.0f}",
            ]
        )
    for kind in CLUSTERED:
        small, large = (each["clustered"][kind] for each in (measured, simulated))
        lines.append(
            [
                f"{TITLES[kind]}, after CLUSTER",
                ", ".join(large["indexes"]),
                *[""] * 5,
                f"{small['rows']} / {large['rows']}",
                f"{small['blocks']:.0f} / {large['blocks']:.0f}",
            ]
        )
    averages = [
        f"{per_request(measured, 'postgres_ms'):.2f} / {per_request(simulated, 'postgres_ms'):.2f}",
        f"{per_request(measured, 'function_ms'):.2f}",
        size(per_request(measured, "response_bytes")),
        two_digits(per_request(measured, "wal_bytes")),
    ]
    lines.append(["**average**", "", "100%", *averages, "", ""])
    return _table(header, lines, left=2)


def _assumptions() -> str:
    lines = [[name, each.meaning, f"{each.value:.3g}"] for name, each in ASSUMPTIONS.items()]
    return _table(["name", "meaning", "value"], lines, left=2)


def _prices() -> str:
    lines = [
        [
            each["title"],
            f"per {each['unit']}",
            f"{each['date']}",
            each["source"],
            f"{each['price']:.10g}",
        ]
        for each in PRICES.values()
    ]
    return _table(["service", "unit", "read on", "source", "US dollars"], lines, left=4)
