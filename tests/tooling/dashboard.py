"""`make dashboard`: draws the dashboard of serverless.yml as docs/images/dashboard.svg.

The values come from real log lines and metrics (traffic.py). The gateway's metrics are computed
from the lines of the requests, which it forwards one by one.
"""

import json
import re
import sys
import tempfile
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from dev.serve import ROOT
from tests.platforms.aws.stack import read_stack
from tests.support.databases import running_cluster
from tests.tooling import log_insights
from tests.tooling.traffic import Line, collect_lines

PICTURE = ROOT / "docs" / "images" / "dashboard.svg"
UNIT = 32  # pixels of one unit of the grid, which has 24 columns
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c")
STYLE = """text { font: 11px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .note { fill: #57606a }
.box { fill: none; stroke: #d0d7de } polyline { fill: none; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .note { fill: #9198a1 } .box { stroke: #3d444d }
}"""


class Series(NamedTuple):
    """A name, and the value at each time."""

    label: str
    values: dict[str, float]
    on_the_right: bool = False  # on an axis of its own


def read_widgets() -> list[dict[str, Any]]:
    """The widgets of serverless.yml, with the values of the stage prod."""
    stack = read_stack()
    body = stack["resources"]["Resources"]["Dashboard"]["Properties"]["DashboardBody"]
    body = body.removeprefix("!Sub ")
    body = body.replace("${self:custom.requestLogs}", stack["custom"]["requestLogs"])
    body = body.replace("${self:service}", stack["service"]).replace("${sls:stage}", "prod")
    return json.loads(body.replace("\\${", "${"))["widgets"]


def emitted_metrics(lines: list[Line]) -> set[tuple[str, str, str]]:
    """Namespace, name and service of each metric in the lines."""
    return {
        (directive["Namespace"], metric["Name"], line["service"])
        for line in lines
        if "_aws" in line
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }


def series_of(metric: list[Any], properties: dict[str, Any], lines: list[Line]) -> Series:
    """The values of a metric of a widget, by time."""
    *names, options = metric
    found: dict[str, list[float]] = {}
    for line in lines:
        if values := _values(names, line):
            found.setdefault(line["timestamp"], []).extend(values)
    statistic = options.get("stat", properties.get("stat"))
    reduced = {time: _reduce(statistic, values) for time, values in found.items()}
    return Series(options["label"], reduced, options.get("yAxis") == "right")


def _values(names: list[str], line: Line) -> list[float]:
    namespace, metric, _, dimension = names
    if namespace == "AWS/ApiGateway":
        if line.get("message") != "request":
            return []
        is_class = metric == "Count" or f"{line['status'] // 100}xx" == metric
        return {"Latency": [line["milliseconds"]]}.get(metric, [float(is_class)])
    emitted = (namespace, metric, dimension) in emitted_metrics([line])
    return line[metric] if emitted else []


def _reduce(statistic: str, values: list[float]) -> float:
    if statistic.startswith("p"):
        return log_insights.percentile(values, int(statistic[1:]))
    return {"Sum": sum, "Minimum": min, "Maximum": max}[statistic](values)


def draw(widgets: list[dict[str, Any]], lines: list[Line]) -> str:
    """The dashboard as SVG."""
    height = max(widget["y"] + widget["height"] for widget in widgets) * UNIT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * UNIT} {height}" role="img"'
        ' aria-label="The dashboard of the stack, with values of a test">',
        f"<style>\n{STYLE}\n</style>",
    ]
    for widget in widgets:
        x, y, width = (widget[name] * UNIT for name in ("x", "y", "width"))
        properties = widget["properties"]
        parts += [
            f'<g transform="translate({x} {y})">',
            f'<rect class="box" x="3" y="3" width="{width - 6}"'
            f' height="{widget["height"] * UNIT - 6}" rx="3"/>',
            f'<text class="title" x="10" y="20">{escape(properties["title"])}</text>',
            *_content(widget, width, widget["height"] * UNIT, lines),
            "</g>",
        ]
    return "\n".join([*parts, "</svg>", ""])


def _content(widget: dict[str, Any], width: int, height: int, lines: list[Line]) -> list[str]:
    properties = widget["properties"]
    if widget["type"] == "alarm":
        names = re.findall(r"\${(\w+)}", " ".join(properties["alarms"]))
        return [
            f'<text class="note" x="{10 + n * 148}" y="44">{escape(name)}</text>'
            for n, name in enumerate(names)
        ]
    if widget["type"] == "metric":
        series = [series_of(metric, properties, lines) for metric in properties["metrics"]]
        return _chart(series, width, height)
    rows = log_insights.run(properties["query"], lines)
    if properties["view"] == "timeSeries":
        [time, value] = rows[0]
        return _chart([Series(value, {row[time]: row[value] for row in rows})], width, height)
    return _table(rows, width)


def _chart(series: list[Series], width: int, height: int) -> list[str]:
    times = sorted({time for each in series for time in each.values})
    left, top, bottom = 40, 34, height - 26
    step = (width - left - 16) / max(1, len(times) - 1)
    parts = []
    highest = _highest(series, on_the_right=False)
    for number, (label, values, on_the_right) in enumerate(series):
        scale = (bottom - top) / _highest(series, on_the_right=on_the_right)
        points = " ".join(
            f"{left + times.index(time) * step:.0f},{bottom - value * scale:.0f}"
            for time, value in sorted(values.items())
        )
        parts += [
            f'<polyline points="{points}" stroke="{COLORS[number]}"/>',
            f'<text x="{left + number * 72}" y="{height - 10}" style="fill:{COLORS[number]}">'
            f"{escape(label)}</text>",
        ]
    return [
        f'<text class="note" x="10" y="{top + 4}">{highest:,.3g}</text>',
        f'<text class="note" x="10" y="{bottom}">0</text>',
        *parts,
    ]


def _highest(series: list[Series], *, on_the_right: bool) -> float:
    values = [
        value for each in series if each.on_the_right == on_the_right
        for value in each.values.values()
    ]  # fmt: skip
    return max(values, default=1) or 1


def _table(rows: list[Line], width: int) -> list[str]:
    table = [list(rows[0]), *[[_short(value) for value in row.values()] for row in rows[:6]]]
    # As wide as its longest cell, which is cut off if there is no space.
    longest = [min(24, max(map(len, column)) + 2) for column in zip(*table, strict=True)]
    step = (width - 16) / sum(longest)
    parts = []
    for number, row in enumerate(table):
        x = 10.0
        for size, cell in zip(longest, row, strict=True):
            name = "" if number else ' class="note"'
            space = int(size * step / 6)
            text = escape(cell if len(cell) <= space else f"{cell[: space - 1]}…")
            parts.append(f'<text{name} x="{x:.0f}" y="{44 + number * 19}">{text}</text>')
            x += size * step
    return parts


def _short(value: Any) -> str:
    return "" if value is None else str(value)


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="task-api-dashboard-") as folder,
        running_cluster(Path(folder) / "postgres") as cluster,
        cluster.clone() as database,
    ):
        picture = draw(read_widgets(), collect_lines(database))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture)
    sys.stdout.write(f"Wrote {PICTURE.relative_to(ROOT)} ({len(picture):,} bytes).\n")


if __name__ == "__main__":
    main()
