"""What a run measured: the commit of this repository, and where its results belong."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
REAL = ROOT / "docs" / "performance" / "results.jsonl"
"""Of runs on a real API server; kept in the repository."""
STANDIN = ROOT / "build" / "performance" / "results.jsonl"
"""Of runs on the stand-in, which must not take the place of those; git ignores it."""
MEASURED = ("benchmarks", "helpers", "models", "operator")


def commit(root: Path = ROOT) -> str:
    """The short commit of the code; ``-dirty`` behind it if what is measured has been changed
    since; "" without a repository."""
    if not (root / ".git").exists():
        return ""
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = head and _git(root, "status", "--porcelain", "--", *MEASURED)
    return f"{head}-dirty" if changed else head


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
    except FileNotFoundError:  # git is not installed
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
