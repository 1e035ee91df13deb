"""The printed tables of the papers in HTML, ours beside each: a section a table, for the ledger's page.

What differs from the print is vermilion, has a sign before it and says so in words; nothing is told by colour alone.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from ..cost import table_2
from ..papers import item_of, label, recomputed
from ..papers.mpop import COMPLEXITIES
from ..plans import make_plan
from .arithmetic import number
from .beside import Filled, Grid, OurRow, Score, fill
from .build import ASK_FOR
from .formulas import FFN
from .items import item_command, recipes_of
from .tables import GRIDS

STYLE = """
.tables { display: grid; grid-template-columns: 1fr 1fr; gap: 1.5em; margin: .8em 0 .4em }
.tables.wide { grid-template-columns: minmax(0, 1fr); gap: .6em }
.wide table.grid { table-layout: fixed; min-width: 56em }
.wide .grid thead th:first-child { width: 14em }
.tables > div { min-width: 0 }
.scroll { position: relative; overflow-x: auto }
.scroll:focus-visible { outline: 2px solid #0072B2 }
table.grid { margin: 0 0 .6em; font-size: .87em; font-variant-numeric: tabular-nums }
.grid caption { text-align: left; font-weight: 600; padding: .3em .6em }
.grid th, .grid td { padding: .25em .5em }
.grid td, .grid thead th { text-align: right; white-space: nowrap }
.grid thead th { vertical-align: bottom }
.grid thead th:first-child { text-align: left }
.grid th[scope=row] { min-width: 8em; position: sticky; left: 0; background: #fff }
.grid tr.again th { padding-left: 1.5em; font-weight: 400 }
.grid small { display: block; color: #666; font-weight: 400 }
.differs { color: #D55E00; font-weight: 600 }
.about { font-size: .9em; color: #555; margin: .3em 0 2.5em }
.about p, .about ul { margin: .3em 0 }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
@media (max-width: 60em) {
  .tables { grid-template-columns: minmax(0, 1fr) }
  .wide .grid thead th:first-child { width: 9em }
  .grid th[scope=row] { min-width: 6.5em; max-width: 9em }
}
"""

WIDE = 6
"""With more columns a table and ours stand one below the other."""

INTRODUCTION = (
    "Each table as printed, and the same grid of ours. Our scores are of small models on a part of each data set, to "
    "be compared down the columns of one side, not across. #Pr and #To, in millions, and depth are of the paper's own "
    "models, counted here; where the count is not what is printed it stands after the sign ≠."
)


def sections(results: Path, verdicts: Callable[[str], str]) -> list[str]:
    """The heading and a section a printed table, in the order of the papers. verdicts: the id of an item -> a line on
    its claims, "" without any.

    Raises CheckpointError for a record that another version of its recipe made.
    """
    parts = ['<h2 id="tables">The tables, side by side</h2>', f"<p>{html.escape(INTRODUCTION)}</p>"]
    for id, grid in GRIDS.items():
        if id == "mpop-tab3":  # before it the print has expressions, no numbers
            parts.append(_section("mpop-tab2", "Time of inference", _expressions(), [], verdicts))
        filled = fill(grid, results)
        below = [_about_ours(grid, filled), *_about_print(grid)]
        parts.append(_section(id, grid.printed.title, _both(grid, filled), below, verdicts))
    return parts


def _section(id: str, title: str, body: str, below: Sequence[str], verdicts: Callable[[str], str]) -> str:
    item = item_of(id)
    said = verdicts(item)
    lines = [*below, f'<p><a href="#{item}">The ledger on it</a>: {html.escape(said)}.</p>'] if said else list(below)
    return (
        f'<h3 id="table-{id}">{html.escape(f"{label(item)}: {title}")} <code>{id}</code></h3>'
        f'{body}<div class="about">{"".join(lines)}</div>'
    )


# -- both sides ------------------------------------------------------------------------------------------


def _both(grid: Grid, filled: Filled) -> str:
    wide = " wide" if len(grid.printed.columns) > WIDE else ""
    name = label(item_of(grid.table))
    seeds = ""
    if filled.scale:
        fewer = f" ({filled.least} of them in some cells)" if filled.least < len(filled.seeds) else ""
        seeds = f", scale {filled.scale}, seeds {' '.join(map(str, filled.seeds))}{fewer}: mean ± standard deviation"
    columns = [*grid.printed.columns, *grid.more]
    rows = [_tr(_our_head(row), [_our_cell(row, column, grid) for column in columns], row.again) for row in filled.rows]
    ours = _table(f"{name}, ours", f"Ours{seeds}", columns, rows)
    return f'<div class="tables{wide}"><div>{_as_printed(grid)}</div><div>{ours}</div></div>'


def _table(name: str, caption: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    """In a container of its own that scrolls, and that the keyboard reaches."""
    head = "".join(f'<th scope="col">{_heading(column)}</th>' for column in columns)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(name)}"><table class="grid">'
        f'<caption>{html.escape(caption)}</caption><thead><tr><th scope="col">model</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heading(column: str) -> str:
    """A heading of two parts has two lines."""
    return html.escape(column).replace("/", "/<br>")


def _tr(head: str, cells: Sequence[str], again: bool = False) -> str:
    kind = ' class="again"' if again else ""
    return f'<tr{kind}><th scope="row">{head}</th>{"".join(cells)}</tr>'


def _differs(shown: str, why: str) -> str:
    """A cell that is at odds with the print, told by a sign, by words for those who hear it, and by colour."""
    return (
        f'<td class="differs" title="{html.escape(why)}"><span aria-hidden="true">≠ </span>{html.escape(shown)}'
        f'<span class="unseen">, {html.escape(why)}</span></td>'
    )


def _as_printed(grid: Grid) -> str:
    printed = grid.printed
    wrong = _wrong_averages(grid)
    rows = []
    for name, texts in printed.texts.items():
        cells = []
        for column, text in texts.items():
            shown = "–" if text == "-" else html.escape(text)
            at_odds = column == grid.average and name in wrong
            cells.append(_differs(shown, f"the mean of its row is {wrong[name]}") if at_odds else f"<td>{shown}</td>")
        rows.append(_tr(html.escape(name), cells))
    return _table(f"{label(item_of(printed.id))}, as printed", "As printed", printed.columns, rows)


def _wrong_averages(grid: Grid) -> dict[str, str]:
    """Row -> the mean of its scores, where the printed average is another."""
    if not grid.average:
        return {}
    found = {
        name: number("", value, mean, grid.average_digits)
        for name, (value, mean) in recomputed(grid.table, grid.average).items()
    }
    return {name: line.ours for name, line in found.items() if not line.agrees}


def _our_head(row: OurRow) -> str:
    """The printed row's name, and under it our model with its size."""
    model = row.model
    if row.total:
        trained = f", {row.trained / 1e6:.1f} M train" if row.trained != row.total else ""
        model = f"{model}: {row.total / 1e6:.1f} M{trained}"
    if row.again:
        return html.escape(f"again, {model}")
    return html.escape(row.printed) + (f"<small>{html.escape(model)}</small>" if model else "")


def _our_cell(row: OurRow, column: str, grid: Grid) -> str:
    if column in row.counted:
        line, printed = row.counted[column], grid.printed.rows[row.printed][column]
        if not line.agrees:
            return _differs(line.ours, "; ".join(filter(None, ("counted", f"{printed:g} is printed", line.what))))
        return f"<td>{line.ours}{f' <small>{html.escape(line.what)}</small>' if line.what else ''}</td>"
    if column in row.scores:
        return f"<td>{_score(row.scores[column], grid.digits)}</td>"
    return "<td>–</td>"


def _score(score: Score, digits: int) -> str:
    tasks = f"<small>of {score.tasks} tasks</small>" if score.tasks else ""
    return f"{score.mean:.{digits}f} <small>± {score.spread:.{digits}f}</small>{tasks}"


# -- in words, below -------------------------------------------------------------------------------------


def _about_ours(grid: Grid, filled: Filled) -> str:
    """Which model stands for which, on how many rows, what is counted, and the command."""
    said = [html.escape(grid.about)] if grid.about else []
    if filled.data:
        alike = len(set(filled.data.values())) == 1
        each = [next(iter(filled.data.values()))] if alike else [f"{name} {rows}" for name, rows in filled.data.items()]
        said.append(html.escape(f"Rows to learn from + reported: {', '.join(each)}."))
    if any(row.again for row in filled.rows):
        said.append("“Again” is what was tried later and chosen on other rows and another seed.")
    counted: dict[str, list[str]] = {}
    for row, beside in grid.rows.items():
        for of in dict.fromkeys(count.of for count in beside.counted.values()):
            counted.setdefault(of, []).append(row)
    if counted:
        listed = "; ".join(f"{', '.join(rows)}: {of}" for of, rows in counted.items())
        said.append(html.escape(f"Counted: {listed}."))
    item = item_of(grid.table)
    if grid.places and recipes_of(item):
        said.append(f"What runs it: <code>{html.escape(item_command(item, filled.scale or ASK_FOR))}</code>")
    return f"<p>{' '.join(said)}</p>" if said else ""


def _about_print(grid: Grid) -> list[str]:
    """What is doubtful about the print."""
    notes = grid.printed.notes or {}
    lines = [f"{row}: {note}" if row else note for row, note in notes.items()]
    wrong = _wrong_averages(grid)
    for row, mean in wrong.items():
        value = grid.printed.rows[row][grid.average]
        if mean not in notes.get(row, ""):  # else it has been said
            lines.append(f"{row}: {value:g} is printed, and the mean of its row is {mean}")
    if not lines:
        return []
    return ["<p>Of the print:</p><ul>", *(f"<li>{html.escape(line)}</li>" for line in lines), "</ul>"]


# -- expressions -----------------------------------------------------------------------------------------

_METHODS = dict(zip(COMPLEXITIES, ("CP", "Tucker", "SVD", "MPO")))
"""Row of MPOP's Table 2 -> its name in `cost.table_2`."""

_N, _D = 5, 64
"""The number of tensors and the rank at which Table 2 is worked out, for an FFN matrix."""


def _expressions() -> str:
    """MPOP's Table 2: the expressions, and what they come to."""
    found = {row.method: row for row in table_2(make_plan(FFN, n=_N), _D)}
    left = [_tr(html.escape(name), [f"<td>O({text})</td>"]) for name, text in COMPLEXITIES.items()]
    right = [
        _tr(
            html.escape(name),
            [f"<td>{value / 1e6:,.2f}</td>" for value in (row.printed, row.exact, row.parameters)],
        )
        for name, method in _METHODS.items()
        for row in [found[method]]
    ]
    name = label("mpop-tab2")
    ours = _table(
        f"{name}, ours",
        "Worked out here, in millions",
        ("the expression", "multiply-adds a token", "parameters"),
        right,
    )
    dense = math.prod(FFN) / 1e6
    return (
        f'<div class="tables"><div>{_table(f"{name}, as printed", "As printed", ("inference time",), left)}</div>'
        f'<div>{ours}</div></div><p class="note">Of a matrix of {FFN[0]} by {FFN[1]}, n = {_N}, d = {_D}; the dense '
        f"one takes {dense:.2f} million multiply-adds. The expressions leave out the activations carried along.</p>"
    )
