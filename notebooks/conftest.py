"""How nbval compares the notebooks: text and tables strictly, pictures and widget views (random ids) not at all.

nbval itself leaves out image/png, image/jpeg and widget views; what is added here is its patience and stderr.
"""

import os

import pytest

pytest.importorskip("nbval")
from nbval.plugin import IPyNbCell

# nbval waits a fixed 5 s for the next message of a cell that prints nothing; a decomposition may take longer.
SILENCE_ALLOWED = 120


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, IPyNbCell):
            item.output_timeout = SILENCE_ALLOWED
            if "stderr" not in item.parent.skip_compare:  # progress bars and warnings differ from run to run
                item.parent.skip_compare += ("stderr",)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    # The kernel inherits this process's environment: with a backend forced there, figures would not be displayed
    # and every cell with one would differ from the stored notebook.
    os.environ.pop("MPLBACKEND", None)
