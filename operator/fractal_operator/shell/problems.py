"""An error of a port as the core sees it."""

from datetime import datetime

from fractal_helpers.redaction import redact
from fractal_models.errors import FractalError, Rejected, TokenConflict
from fractal_operator.core.plan import Problem


def problem_of(error: FractalError, at: datetime) -> Problem:
    """An error as the core sees it; without the passwords and keys that its text may tell."""
    kind = "TokenConflict" if isinstance(error, TokenConflict) else type(error).__name__
    return Problem(kind, redact(str(error)), at, error.code if isinstance(error, Rejected) else "")
