"""``python -m fractal_operator`` is ``fractal-operator``."""

from fractal_operator.cli import main

main()
