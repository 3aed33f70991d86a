"""Shows figures: as Markdown, as one picture, as one line; measures nothing."""

from html import escape

from bench.measure import AGES, FULL, QUICK, Figures
from bench.partners import AS_ZIPPED, FLOOR, HONO, OURS, PARTNERS, TUTORIAL, Partner
from bench.workload import PAGE

ABSENT = "-"
ORDINALS = dict(zip(AGES, ("first 1,000 requests", "second 1,000"), strict=True))


def markdown(figures: Figures, machine: str, *, quick: bool) -> str:
    """Everything that was measured."""
    about = "A quick run: few repeats, no long list, few instructions counted. " if quick else ""
    parts = [
        "# Benchmark",
        f"{about}Made by `make bench` on {machine}; everything in one run, on one PostgreSQL with "
        "the same tasks, the same token, the same events. Behind each figure stands its ratio to "
        "the floor: a plain handler with PyJWT and psycopg. Compare ratios, not seconds: of all "
        "figures only instructions repeat on another day and another machine. Nothing here was "
        "measured on the hardware of AWS, Vercel or Neon.",
        "## In short",
        overview(figures),
        _overview_table(figures),
        "## Cold: from nothing to the first answer of the Lambda handler",
        "Interpreter, imports, and either a 401 (no database) or the first list (a connection, no "
        "TLS). The floor, the tutorial and Powertools' resolver write no log line and check less "
        "input than this API does.",
        _cold(figures),
        "## Warm: one request through the Lambda handler",
        "The four kinds in turn, each asked "
        f"{(QUICK if quick else FULL).warm_up} times before, which compilers like Node's learn from.",
        _warm(figures),
        "## A server of many requests at once, as on Vercel",
        "One process, one loop (uvicorn; for hono Node's own server), a list of 10. The client "
        "shares the machine.",
        _servers(figures),
        "## Longer lists",
        f"Through the Lambda handler; a page has {PAGE} tasks, the deep one lies behind 90 % of "
        "the list (ours by cursor, the others by OFFSET). The wait includes PostgreSQL's work. Where "
        "this API has no figure it refuses the whole list with a 422: on Lambda nothing beyond 6 MB "
        "arrives, whoever sends it.",
        _growth(figures),
    ]
    return "\n\n".join(parts) + "\n"


def summary(figures: Figures) -> str:
    """The run in one line."""
    said = []
    for what, name in (
        ("warm list instructions", "warm list of 10: {} x the floor in instructions"),
        ("life 1000 cpu", "{} x in CPU"),
        ("cold unauthorized instructions", "cold to the first answer: {} G instructions"),
    ):
        if (what, OURS.name) in figures:
            value = figures[what, OURS.name]
            ratio = value / figures[what, FLOOR.name]
            said.append(name.format(f"{value / 1e9:.2f}" if "{} G" in name else f"{ratio:.2f}"))
    if ("warm list instructions", HONO.name) in figures:
        ours, hono = (figures["warm list instructions", p.name] for p in (OURS, HONO))
        said.append(f"instructions of a warm list {ours / hono:.2f} of hono's")
    for age in AGES:
        if (f"life {age} cpu of hono's", OURS.name) in figures:
            share = figures[f"life {age} cpu of hono's", OURS.name]
            said.append(f"CPU of a sandbox's {ORDINALS[age]} {share:.2f} of hono's")
    return f"{'; '.join(said)}."


def overview(figures: Figures) -> str:
    """The one sentence that the README shows."""
    ratios = {
        (what, partner): figures[what, partner.name] / figures[what, FLOOR.name]
        for what in ("warm list instructions", "cold unauthorized instructions")
        for partner in (OURS, HONO, TUTORIAL)
        if (what, partner.name) in figures and (what, FLOOR.name) in figures
    }
    if len(ratios) < 6:
        return "This run did not count the instructions of every candidate."
    warm, cold = (
        f"{ratios[what, OURS]:.2f} times {case} "
        f"(hono on Node: {ratios[what, HONO]:.2f}, tutorial FastAPI: {ratios[what, TUTORIAL]:.2f})"
        for what, case in (
            ("warm list instructions", "the processor instructions for a warm list of 10 tasks"),
            ("cold unauthorized instructions", "for a cold start"),
        )
    )
    return f"Compared with a minimal Lambda handler, this API takes {warm} and {cold}."


def _overview_table(figures: Figures) -> str:
    return _table(
        PARTNERS,
        {
            "list of 10: M instructions": _cells(figures, "warm list instructions", 1e-6, digits=2),
            **{
                f"CPU us, a sandbox's {ORDINALS[age]}": _cells(figures, f"life {age} cpu", 1e6)
                for age in AGES
            },
            "cold start to a 401: G instructions": _cells(
                figures, "cold unauthorized instructions", 1e-9, digits=2
            ),
            "CPU ms": _cells(figures, "cold unauthorized cpu", 1e3),
            "peak MB": _cells(figures, "warm rss", 1, ratio=False),
            "zip MB": _cells(figures, "zipped", 1, digits=1, ratio=False),
        },
    )


def _cold(figures: Figures) -> str:
    return _table(
        PARTNERS,
        {
            "401: M instructions": _cells(figures, "cold unauthorized instructions", 1e-6),
            "CPU ms": _cells(figures, "cold unauthorized cpu", 1e3),
            "wall ms": _cells(figures, "cold unauthorized wall", 1e3, ratio=False),
            "first list: M instructions": _cells(figures, "cold list instructions", 1e-6),
            "CPU ms ": _cells(figures, "cold list cpu", 1e3),
            "wall ms ": _cells(figures, "cold list wall", 1e3, ratio=False),
            "peak MB": _cells(figures, "cold list rss", 1, ratio=False),
            "artifact MB": _cells(figures, "size", 1, digits=1, ratio=False),
            "zipped": _cells(figures, "zipped", 1, digits=1, ratio=False),
        },
    )


def _warm(figures: Figures) -> str:
    columns = {}
    for name, title in (
        ("list", "list of 10"), ("get", "get"), ("create", "create"), ("toggle", "toggle")
    ):  # fmt: skip
        columns[f"{title}: k instructions"] = _cells(figures, f"warm {name} instructions", 1e-3)
    for name in ("list", "get", "create", "toggle"):
        columns[f"{name}: CPU us"] = _cells(figures, f"warm {name} cpu", 1e6)
    columns["list: wall us"] = _cells(figures, "warm list wall", 1e6, ratio=False)
    columns["peak MB"] = _cells(figures, "warm rss", 1, ratio=False)
    return _table([p for p in PARTNERS if p is not AS_ZIPPED], columns)


def _servers(figures: Figures) -> str:
    columns = {}
    for number in (1, 50):
        at = f"{number} at once"
        columns[f"{at}: requests/s"] = _cells(figures, f"server {number} rate", 1, ratio=False)
        columns[f"{at}: p50 ms"] = _cells(
            figures, f"server {number} p50", 1e3, digits=1, ratio=False
        )
        columns[f"{at}: p99 ms"] = _cells(
            figures, f"server {number} p99", 1e3, digits=1, ratio=False
        )
        columns[f"{at}: CPU us"] = _cells(figures, f"server {number} cpu", 1e6)
    return _table([p for p in PARTNERS if p.application], columns)


def _growth(figures: Figures) -> str:
    columns = {}
    sizes = sorted({int(what.split()[1]) for what, _ in figures if what.startswith("whole ")})
    kinds = [("whole", "whole"), ("page", "page"), ("deep", "deep page")]
    for kind, title in kinds:
        for size in sizes:
            if (f"{kind} {size} cpu", FLOOR.name) in figures:
                values = {
                    p.name: f"{1e3 * figures[f'{kind} {size} cpu', p.name]:.2f} / "
                    f"{1e3 * figures[f'{kind} {size} wall', p.name]:.2f}"
                    for p in PARTNERS
                    if (f"{kind} {size} cpu", p.name) in figures
                }
                columns[f"{title} of {size:,}: CPU / wall ms"] = values
    return _table([p for p in PARTNERS if p is not AS_ZIPPED], columns)


def _cells(
    figures: Figures, what: str, scale: float, *, digits: int = 0, ratio: bool = True
) -> dict[str, str]:
    cells = {}
    for partner in PARTNERS:
        if (what, partner.name) in figures:
            value = figures[what, partner.name]
            cells[partner.name] = f"{scale * value:,.{digits}f}"
            if ratio and (what, FLOOR.name) in figures:
                cells[partner.name] += f" ({value / figures[what, FLOOR.name]:.2f})"
    return cells


def _table(
    partners: tuple[Partner, ...] | list[Partner], columns: dict[str, dict[str, str]]
) -> str:
    columns = {title: cells for title, cells in columns.items() if cells}
    lines = [
        f"| | {' | '.join(title.strip() for title in columns)} |",
        f"|---|{'---:|' * len(columns)}",
    ]
    for partner in partners:
        cells = [cells.get(partner.name, ABSENT) for cells in columns.values()]
        lines.append(f"| {partner.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


# The picture: two groups of bars, the floor is 1. Grey and one accent that both a light and a dark
# page carry; text takes the colour of the page by a media query.
WIDTH, LABEL, BAR, GAP, HEAD = 760, 236, 18, 7, 34
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 } .note { font-size: 11px; fill: #57606a }
.bar { fill: #8c959f } .ours { fill: #1a7f37 } .ours-text { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #6e7681 } .ours { fill: #3fb950 }
}
"""


def picture(figures: Figures) -> str:
    """An SVG of the warm list of 10 and of the cold start as multiples of the floor.

    Instructions where they were counted, since a busy machine leaves them alone; CPU time else.
    """
    counted = ("warm list instructions", OURS.name) in figures
    groups = (
        ("Warm: one list of 10 tasks", "warm list instructions", 1e-6, "M")
        if counted
        else ("Warm: one list of 10 tasks", "warm list cpu", 1e3, "ms"),
        ("Cold: from nothing to the first answer", "cold unauthorized instructions", 1e-9, "G")
        if counted
        else ("Cold: from nothing to the first answer", "cold unauthorized cpu", 1, "s"),
    )
    drawn, y = [], 0
    for title, what, scale, unit in groups:
        shown = [partner for partner in PARTNERS if (what, partner.name) in figures]
        shown.sort(key=lambda partner: figures[what, partner.name])
        # The slowest bar may be cut off: a scale that fits it would hide all others.
        reach = 1.25 * figures[what, TUTORIAL.name]
        y += HEAD
        drawn.append(f'<text class="head" x="0" y="{y - 12}">{escape(title)}</text>')
        for partner in shown:
            drawn.append(_bar(figures, partner, what, reach, y, scale, unit))
            y += BAR + GAP
    y += 22
    measure = "Processor instructions" if counted else "CPU time"
    note = f"{measure}, fewer are better; behind it the multiple of a plain handler with PyJWT and psycopg."
    drawn.append(f'<text class="note" x="0" y="{y - 6}">{note}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" '
        f'aria-label="{measure} of this API beside others">\n<style>{STYLE}</style>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


def _bar(
    figures: Figures, partner: Partner, what: str, reach: float, y: int, scale: float, unit: str
) -> str:
    value = figures[what, partner.name]
    ratio = value / figures[what, FLOOR.name]
    longest = WIDTH - LABEL - 150
    length = longest * min(value / reach, 1)
    kind = "ours" if partner is OURS else "bar"
    text = ' class="ours-text"' if partner is OURS else ""
    title = escape(partner.title.strip("*"))
    base = y + BAR - 5
    cut = "→ " if value > reach else ""
    return (
        f'<text{text} x="0" y="{base}">{title}</text>'
        f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length:.0f}" height="{BAR}" rx="2"/>'
        f'<text{text} x="{LABEL + length + 6:.0f}" y="{base}">'
        f"{cut}{scale * value:,.2f} {unit} · {ratio:.1f} x</text>"
    )
