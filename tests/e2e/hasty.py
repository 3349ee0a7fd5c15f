"""The operator as it is, but for the reaper's minutes, which are seconds here.

They are no settings: shorter ones would break the bounds that they stand on (docs/decisions/0008).
"""

from datetime import timedelta

from fractal_operator.cli import main
from fractal_operator.core import orphans
from fractal_operator.shell import reap

if __name__ == "__main__":
    reap.PERIOD_SECONDS = 1.0
    orphans.APART = timedelta(seconds=0.5)
    orphans.MIN_AGE = timedelta(seconds=3)
    main()
