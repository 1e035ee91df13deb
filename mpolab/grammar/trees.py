"""Parse trees: what a derivation leaves behind, and the text that is read off its leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Tree(NamedTuple):
    """A node with the Penn Treebank's name for it ("S", "NP", "VBD"); a leaf's single part is its word."""

    label: str
    parts: tuple

    @property
    def is_leaf(self) -> bool:
        return isinstance(self.parts[0], str)

    def leaves(self) -> list[tuple[str, str]]:
        """(part of speech, word) from left to right."""
        found: list[tuple[str, str]] = []
        _collect(self, found)
        return found

    def words(self) -> list[str]:
        """The words and punctuation marks from left to right."""
        return [word for _, word in self.leaves()]

    def text(self) -> str:
        return write(self.words())

    def depth(self) -> int:
        """Nodes on the longest way from the root to a part of speech."""
        return 1 if self.is_leaf else 1 + max(part.depth() for part in self.parts)

    def constituents(self) -> str:
        """The labels right below the root: "PP , NP VP ."."""
        return " ".join(part.label for part in self.parts)

    def bracketed(self) -> str:
        """As treebanks write it: (S (NP (DT the) (NN doctor)) (VP (VBD slept)) (. .))."""
        inner = self.parts[0] if self.is_leaf else " ".join(part.bracketed() for part in self.parts)
        return f"({self.label} {inner})"


def _collect(tree: Tree, found: list[tuple[str, str]]) -> None:
    for part in tree.parts:
        if isinstance(part, str):
            found.append((tree.label, part))
        else:
            _collect(part, found)


def node(label: str, *parts: Tree | None) -> Tree:
    """A node of those parts that are there."""
    return Tree(label, tuple([part for part in parts if part is not None]))


def leaf(label: str, word: str) -> Tree:
    return Tree(label, (word,))


def write(words: Sequence[str]) -> str:
    """Words as people write them: a capital at the beginning, no blank before a comma or a stop."""
    text = " ".join(words)
    for mark in (",", ".", "?", ";"):
        text = text.replace(f" {mark}", mark)
    return text[:1].upper() + text[1:]
