"""python -m fractal_operator.observability FOLDER."""

import sys
from pathlib import Path

from fractal_operator.observability import write

if __name__ == "__main__":
    write(Path(sys.argv[1]))
