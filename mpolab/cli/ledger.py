"""`mpolab ledger`: what the papers claim, what was found, and the verdicts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .shared import as_json, command, say, show

DESCRIPTION = """\
The claims of the three papers beside what this project finds: arithmetic that is worked out anew, and
runs whose records are in results/. Verdicts: exact; print contradicts itself; reproduced; smaller
scale: same direction, no difference or opposite; not run, with the command that would run it.
"""

EPILOG = """\
examples:
  mpolab ledger
  mpolab ledger mpop-tab3                 one item: eq, alg, tab or fig of mpop, mpobert or mpoe
  mpolab ledger mpop-tab3-squeezing       one claim
  mpolab ledger --json                    a list of objects
  mpolab ledger --markdown                tables, as in the README
  mpolab ledger --html build/ledger.html --readme README.md      (make ledger)
"""

MAKE_PAGE = "mpolab ledger --html build/ledger.html"


def add(commands: Any) -> None:
    about = "what the papers claim, what was found, and the verdicts"
    parser = command(commands, "ledger", ledger, about, DESCRIPTION, EPILOG)
    parser.add_argument("item", metavar="ID", nargs="?", help="only the claims about this item, or this claim")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a list of objects")
    form.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page too, tables and figures side by side")
    parser.add_argument("--readme", metavar="FILE", type=Path, help="put the ledger between the markers of this file")
    parser.add_argument("--quiet", action="store_true", help="nothing on stderr")


def ledger(arguments: argparse.Namespace) -> int:
    if arguments.item and (arguments.html or arguments.readme):
        arguments.parser.error("a page or a README has all items: leave out the ID")
    from .. import ledger as found
    from ..ledger import pages
    from ..whole import write_whole

    rows = found.verdicts_on(arguments.item).rows if arguments.item else found.build()
    if arguments.readme:
        text = pages.in_readme(arguments.readme.read_text("utf-8"), rows)
        write_whole(arguments.readme, text.encode())
        say(f"README: {arguments.readme}", arguments.quiet)
    if arguments.html:
        arguments.html.parent.mkdir(parents=True, exist_ok=True)
        write_whole(arguments.html, pages.page(rows).encode())
        say(f"page: {arguments.html}", arguments.quiet)
    if not rows:
        none = f"no claim is made about {arguments.item}; it stands beside ours on the page: {MAKE_PAGE}"
        say(none, arguments.quiet)
    if arguments.json:
        show(as_json([row.to_dict() for row in rows]))
    elif arguments.markdown:
        show(pages.markdown(rows))
    elif rows:
        show(pages.plain(rows))
    return 0
