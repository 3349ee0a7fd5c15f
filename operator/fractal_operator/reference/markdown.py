"""Pages of Markdown, as the generated references need them."""

from collections.abc import Iterable, Sequence

_MADE = "<!-- Made by `python -m fractal_operator.reference docs`; do not edit. -->"


def page(title: str, *parts: str) -> str:
    """A whole page: title, a note for editors, and its parts, an empty line between any two."""
    return "\n\n".join([f"# {title}\n{_MADE}", *(part.strip("\n") for part in parts)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells may hold anything but line breaks."""
    every = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in every)


def code(text: str) -> str:
    """``text`` as inline code; nothing for an empty one."""
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    # Outside of code, what looks like a tag would vanish.
    parts[::2] = (part.replace("<", "&lt;") for part in parts[::2])
    return "`".join(parts)
