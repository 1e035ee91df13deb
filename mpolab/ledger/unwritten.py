"""Claims about runs for which there is no recipe. Once there is one, its entry becomes a `Compared`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Unwritten:
    """command: what comes nearest, empty for nothing. why: there is no recipe, in one clause."""

    command: str
    why: str
