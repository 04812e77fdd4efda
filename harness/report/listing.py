"""A table as lines that open: for the page alone, where one row of it would be too wide to read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One line, and what it opens to.

    Attributes:
        cells: the line, a text for each head of the listing.
        tags: by filter, the value under which it is found.
        facts: terms, and what there is to say of each.
        heads: of the table below them, with its columns' kinds, which are those of `Shown`.
        rows: of that table, texts; none where there is no table.
    """

    cells: tuple[str, ...]
    tags: dict[str, str]
    facts: tuple[tuple[str, str], ...] = ()
    heads: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Listing:
    """Lines, and the filters that a reader has where scripts run.

    Attributes:
        noun: what the lines are, in the plural.
        heads: of the lines.
        entries: the lines, open to view.
        folded: those that come last, closed until somebody opens them.
        why_folded: what these have in common.
        filters: by name, each choice's value and its words; only those that some line has.
    """

    noun: str
    heads: tuple[str, ...]
    entries: tuple[Entry, ...]
    folded: tuple[Entry, ...]
    why_folded: str
    filters: dict[str, dict[str, str]]

    def choices(self) -> dict[str, dict[str, str]]:
        """The filters, without values that no line has."""
        lines = [*self.entries, *self.folded]
        found = {name: {line.tags[name] for line in lines} for name in self.filters}
        return {
            name: {value: words for value, words in choices.items() if value in found[name]}
            for name, choices in self.filters.items()
        }
