"""Parts of a Markdown file that programs write: what lies between two comments with a name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class MarkedError(ValueError):
    """The file has no such part, or half of one."""


def replace(path: Path, name: str, lines: Iterable[str]) -> None:
    """Puts `lines` between `<!-- NAME -->` and `<!-- /NAME -->`. Raises `MarkedError` without these."""
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise MarkedError(f"{path} has no part between {begin.strip()} and {end}")
    path.write_text(before + begin + "".join(f"{line}\n" for line in lines) + end + after, encoding="utf-8")
