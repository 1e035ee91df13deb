"""The ledger as text: Markdown for the README, a table for the terminal, a page of its own.

In the README it stands between markers, so that it can be put there anew and a test can tell whether it is the one that
the records make.
"""

from __future__ import annotations

import base64
import html
import importlib.util
import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from .. import runs
from ..errors import DataNotFoundError, LedgerError
from ..papers import CLAIMS, PAPERS, label
from . import grids
from .build import at, summary
from .findings import finding_on
from .row import BY_ARITHMETIC, NOT_RUN, Row

if TYPE_CHECKING:
    from .figures import Side

MARKERS = {
    "summary": ("<!-- ledger summary: made by `make ledger` -->", "<!-- end of the ledger summary -->"),
    "table": ("<!-- ledger: made by `make ledger` -->", "<!-- end of the ledger -->"),
}
"""Part -> what stands before and after it in the README."""

COLUMNS = ("claim", "printed", "ours", "verdict")


def summary_line(rows: Sequence[Row]) -> str:
    """ "106 claims: 32 exact, 34 print contradicts itself, ..."."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in summary(rows).items())
    return f"{len(rows)} claim{'' if len(rows) == 1 else 's'}: {counts}"


def _found(row: Row) -> str:
    """Ours and, of runs, on what: "..., 12 pairs; laptop, seeds 0 1 2"."""
    if not row.on_runs:
        return row.ours
    return f"{row.ours}; {row.scale}, seeds {' '.join(map(str, row.seeds))}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def markdown(rows: Sequence[Row]) -> str:
    """One table a paper, one line a claim; what was not run has its command. Under it the findings about claims that
    did not come out as printed.
    """
    parts = []
    for paper, group in groupby(rows, key=lambda row: row.paper):
        lines = [f"**{paper}**", "", "| id | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
        findings: dict[str, list[str]] = {}
        for row in group:
            ours = _cell(_found(row)) + (f": `{row.command}`" if row.verdict == NOT_RUN and row.command else "")
            cells = (f"`{row.id}`", _cell(row.claim), _cell(row.printed), ours, row.verdict)
            lines.append("| " + " | ".join(cells) + " |")
            if finding := finding_on(row):
                findings.setdefault(finding, []).append(f"`{row.id}`")
        parts.append("\n".join(lines))
        if findings:
            parts.append("\n".join(f"- {', '.join(ids)}: {finding}" for finding, ids in findings.items()))
    return "\n\n".join(parts)


def in_readme(readme: str, rows: Sequence[Row]) -> str:
    """The README's text with the ledger between its markers. Raises LedgerError where a marker is missing or twice."""
    for part, text in (("summary", summary_line(rows) + "."), ("table", markdown(rows))):
        begin, end = MARKERS[part]
        if readme.count(begin) != 1 or readme.count(end) != 1 or readme.index(begin) > readme.index(end):
            raise LedgerError(f"the README needs the lines {begin!r} and {end!r}, once each and in this order.")
        head, rest = readme.split(begin)
        tail = rest.split(end)[1]
        readme = f"{head}{begin}\n\n{text}\n\n{end}{tail}"
    return readme


def plain(rows: Sequence[Row]) -> str:
    """For a terminal: a block a claim, and the summary as its last line."""
    blocks = []
    for row in rows:
        lines = [f"{row.id}: {row.verdict}", f"  {row.claim}", f"  printed: {row.printed}", f"  ours: {_found(row)}"]
        if note := _note(row):
            lines.insert(3, f"  note: {note}")
        if finding := finding_on(row):
            lines.append(f"  finding: {finding}")
        if row.verdict == NOT_RUN and row.command:
            lines.append(f"  run it: {row.command}")
        blocks.append("\n".join(lines))
    return "\n".join([*blocks, summary_line(rows)])


# -- a page of its own -----------------------------------------------------------------------------------

# Okabe-Ito, as in mpolab.look (which would bring matplotlib): green for what agrees, vermilion for what does not.
_COLOURS = {"exact": "#009E73", "reproduced": "#009E73", "same direction": "#009E73", "opposite": "#D55E00",
            "print contradicts itself": "#D55E00"}  # fmt: skip
_MUTED, _INK = "#777777", "#222222"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; max-width: 75em; margin: 2em auto }
table { border-collapse: collapse; width: 100%; margin-bottom: 2em }
th, td { text-align: left; vertical-align: top; padding: .4em .6em; border-bottom: 1px solid #ddd }
td.verdict { white-space: nowrap; font-weight: 600 }
.sides { display: grid; grid-template-columns: 1fr 3.2fr; gap: 1.5em; margin: .8em 0 2.5em }
.sides h4 { margin: 0 0 .4em } .sides figure { margin: 0 0 1em } .sides img { width: 100%; border: 1px solid #ddd }
@media (max-width: 50em) {
  body { margin: 1em } .sides { grid-template-columns: minmax(0, 1fr) }
  body > table { display: block; overflow-x: auto } h3 code { overflow-wrap: anywhere }
}
code { font-size: .85em } .note, .command { color: #777; font-size: .9em } svg { margin-top: .3em }
"""


def page(rows: Sequence[Row], results: Path | None = None) -> str:
    """A whole HTML page without scripts: the table, what is doubtful about the print, for every claim on runs its
    interval, drawn beside zero, and the papers' tables and figures side by side with ours, figures as pictures within
    the page.

    results: the folder of records, None = the usual one. Raises CheckpointError for a record that another version of
    its recipe made.
    """
    results = runs.results_folder() if results is None else results
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>mpolab: the claims ledger</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}{grids.STYLE}</style></head><body>",
        f"<h1>The claims ledger</h1><p>{html.escape(summary_line(rows))}.</p>",
        '<p><a href="#tables">The tables, side by side</a> · <a href="#figures">The figures, side by side</a></p>',
    ]
    for paper, group in groupby(rows, key=lambda row: row.paper):
        about = next(text for key, text in PAPERS.items() if key == paper.lower())
        parts.append(f"<h2>{html.escape(paper)}</h2><p>{html.escape(about)}</p>")
        for item, mine in groupby(group, key=lambda row: row.item):
            parts.append(f'<h3 id="{item}">{html.escape(label(item))} <code>{item}</code></h3>')
            parts.append(table(list(mine)))

    def verdicts(item: str) -> str:
        mine = at(rows, item)
        return summary_line(mine) if mine else ""

    parts += grids.sections(results, verdicts)
    parts += _figures(results)
    parts.append("</body></html>\n")
    return "\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    """HTML: a line a claim."""
    head = "<table><tr><th>claim</th><th>printed</th><th>ours</th><th>verdict</th></tr>"
    return "\n".join([head, *(_line(row) for row in rows), "</table>"])


def _figures(results: Path) -> list[str]:
    """A section a figure: what the print shows, in words, and our pictures."""
    from .figures import SIDES

    parts = [
        '<h2 id="figures">The figures, side by side</h2>',
        "<p>The papers' own pictures belong to their publishers: on the left is what each shows, told from its caption "
        "and the text. On the right is what this project draws, from its records or from models that have only "
        "shapes.</p>",
    ]
    for side in SIDES:
        parts.append(
            f'<h3 id="figure-{side.item}">{html.escape(label(side.item))} <code>{side.item}</code></h3>'
            f'<div class="sides"><div><h4>in the paper</h4><p>{html.escape(side.printed)}</p></div>'
            f"<div><h4>here</h4>{_ours(side, results)}</div></div>"
        )
    return parts


def _ours(side: Side, results: Path) -> str:
    """The pictures as <figure>s; where there is none, why."""
    if importlib.util.find_spec("matplotlib") is None:
        return "<p>Not drawn: that takes matplotlib, which <code>pip install 'mpolab[viz]'</code> brings.</p>"
    try:
        pictures = side.draw(results)
    except DataNotFoundError as missing:
        return f"<p>Not drawn: {html.escape(str(missing))}</p>"
    parts = []
    for picture in pictures:
        data = base64.b64encode(picture.png).decode()
        parts.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(picture.alt)}">'
            f'<figcaption class="note">{html.escape(picture.caption)}</figcaption></figure>'
        )
    return "".join(parts)


def _note(row: Row) -> str:
    """Where the print is doubtful, or was read in one of several ways."""
    return CLAIMS[row.id].note if row.id in CLAIMS else ""


def _line(row: Row) -> str:
    note = _note(row)
    claim = html.escape(row.claim) + (f'<div class="note">{html.escape(note)}</div>' if note else "")
    ours = html.escape(_found(row))
    if row.interval is not None:
        ours += interval_svg(row.interval)
    if finding := finding_on(row):
        ours += f'<div class="finding">{html.escape(finding)}</div>'
    if row.command and row.verdict not in BY_ARITHMETIC:
        ours += f'<div class="command"><code>{html.escape(row.command)}</code></div>'
    if row.record:
        ours += f'<div class="note">{len(row.record)} records: {html.escape(", ".join(row.record[:3]))}'
        ours += (" ..." if len(row.record) > 3 else "") + "</div>"
    colour = next((value for key, value in _COLOURS.items() if row.verdict.endswith(key)), _MUTED)
    return (
        f'<tr id="{row.id}"><td>{claim}</td><td>{html.escape(row.printed)}</td><td>{ours}</td>'
        f'<td class="verdict" style="color:{colour}">{html.escape(row.verdict)}</td></tr>'
    )


_LETTER = 6.0
"""Width of a letter of font size 10, in pixels, on the safe side."""


def interval_svg(interval: tuple[float, float], width: int = 260) -> str:
    """An interval as a bar and its middle as a dot, on an axis that reaches as far on both sides of zero."""
    low, high = interval
    reach = max(abs(low), abs(high), 1e-12) * 1.15
    digits = max(0, 1 - math.floor(math.log10(reach)), -math.floor(math.log10(max(high - low, 1e-3 * reach))))

    def x(value: float) -> float:
        return width / 2 * (1 + value / reach)

    middle = (low + high) / 2
    ends = [(x(low), f"{low:.{digits}f}"), (x(high), f"{high:.{digits}f}")]
    if x(high) - x(low) < _LETTER * len(ends[0][1] + ends[1][1]) / 2 + _LETTER:  # the two would overprint
        both = " to ".join(words for _, words in ends)
        half = _LETTER * len(both) / 2
        ends = [(min(max(x(middle), half), width - half), both)]
    labels = (f'<text x="{at:.1f}" y="32" font-size="10" text-anchor="middle">{words}</text>' for at, words in ends)
    return (
        f'<svg style="display: block" width="{width}" height="34" role="img" '
        f'aria-label="95 % from {low:.{digits}f} to {high:.{digits}f}">'
        f'<line x1="0" x2="{width}" y1="12" y2="12" stroke="#ddd"/>'
        f'<line x1="{width / 2:.1f}" x2="{width / 2:.1f}" y1="2" y2="22" stroke="{_MUTED}"/>'
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="12" y2="12" stroke="{_INK}" stroke-width="3"/>'
        f'<circle cx="{x(middle):.1f}" cy="12" r="4" fill="{_INK}"/>'
        f"{''.join(labels)}</svg>"
    )
