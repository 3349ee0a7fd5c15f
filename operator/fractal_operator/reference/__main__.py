"""python -m fractal_operator.reference FOLDER."""

import sys
from pathlib import Path

from fractal_operator.reference import write

if __name__ == "__main__":
    write(Path(sys.argv[1]))
