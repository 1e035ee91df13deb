"""Small samples of a task that never leak: a training part, a part of it set aside for choosing, a reported part.

Rows are the dictionaries of `mpolab.tasks`; this file knows nothing else. Two rows have the same *content* when their
texts agree up to white space and capitals (labels do not count). Questions about one passage belong together: for a
span task the content is the passage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from .errors import DataError

SELECT_SHARE = 0.1
SELECT_MOST = 1000


def content(row: Mapping) -> tuple[str, ...]:
    """What must not stand on both sides of a split: the passage, or the sentence, or the pair of sentences in order."""
    if "context" in row:
        return (_plain(row["context"]),)
    return (_plain(row["text"]), _plain(row["text_pair"])) if "text_pair" in row else (_plain(row["text"]),)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def sample_train(
    rows: Sequence[dict], reported: Sequence[Sequence[dict]], train: int | None, select: int | None, seed: int
) -> tuple[list[dict], list[dict], dict[str, int]]:
    """(train, select, counts): two parts of `rows` that share no content with each other or with the reported splits.

    train: so many rows; None = all that are left. select: so many rows; None = a tenth of what can be had, at most
    SELECT_MOST; 0 = none. For one seed the samples are nested: a smaller `train` is the beginning of a larger one
    (with the same `select`), a smaller `select` the beginning of a larger one, and `select` does not depend on
    `train`.

    Rows whose content stands in a reported split are never drawn, nor are training rows whose content was drawn for
    `select`; `counts` says how many of each there were. Raises DataError where more is asked for than there is.
    """
    seen = {content(row) for split in reported for row in split}
    usable = [row for row in rows if content(row) not in seen]
    generator = torch.Generator().manual_seed(seed)

    # Whole groups of equal content go to `select`, in the order of one draw, until it is full.
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(usable):
        groups.setdefault(content(row), []).append(number)
    keys = list(groups)
    wanted = min(SELECT_MOST, int(SELECT_SHARE * len(usable))) if select is None else select
    chosen: list[int] = []
    taken: set[tuple[str, ...]] = set()
    for key in (keys[k] for k in torch.randperm(len(keys), generator=generator).tolist()):
        if len(chosen) >= wanted:
            break
        chosen += groups[key]
        taken.add(key)
    if wanted < 0 or len(chosen) < wanted:
        raise DataError(
            f"select={wanted} rows were asked for, but train has only {len(usable):,} of {len(rows):,} rows whose "
            "content is not in a reported split. Ask for fewer; select=0 sets none aside."
        )
    chosen = chosen[:wanted]

    # The rest, in the order of a second draw over all rows, so that it is the same whatever is chosen.
    order = torch.randperm(len(usable), generator=generator).tolist()
    left = [number for number in order if content(usable[number]) not in taken]
    if train is not None and not 0 <= train <= len(left):
        raise DataError(
            f"train={train} rows were asked for, but there are {len(left):,}: of {len(rows):,} rows "
            f"{len(rows) - len(usable):,} repeat a reported row and {len(usable) - len(left):,} are set aside for "
            f"select={wanted} or repeat a row of it. Ask for at most {len(left)}, or for a smaller select."
        )
    counts = {
        "train rows that repeat a reported row, dropped": len(rows) - len(usable),
        "train rows that repeat a selected row, dropped": len(usable) - len(left) - len(chosen),
    }
    return [usable[k] for k in left[:train]], [usable[k] for k in chosen], counts


def sample_reported(rows: Sequence[dict], count: int | None, seed: int, split: str = "dev") -> list[dict]:
    """`count` rows of a reported split, nested for one seed; None = all of them in their own order.

    Raises DataError where there are fewer.
    """
    if count is None:
        return list(rows)
    if not 0 < count <= len(rows):
        raise DataError(f"{split}={count} rows were asked for, but there are {len(rows):,}: ask for 1 .. {len(rows)}.")
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    return [rows[k] for k in order[:count]]
