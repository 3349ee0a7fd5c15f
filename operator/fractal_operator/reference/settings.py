"""docs/settings.md: every setting, from the class that reads them."""

from fractal_operator.reference.markdown import code, page, table
from fractal_operator.settings import describe

_INTRO = """
The operator reads environment variables, once, at its start. Lists are comma-separated; an empty
value counts as unset. A wrong value or an unknown `FRACTAL_*` variable ends the start with one line
each and exit code 2.
"""


def settings_page() -> str:
    """Return docs/settings.md."""
    head = ("Variable", "Default", "Allowed", "Meaning")
    rows = (
        (code(row.variable), code(row.default), row.allowed, row.description) for row in describe()
    )
    return page("Settings", _INTRO, table(head, rows))
