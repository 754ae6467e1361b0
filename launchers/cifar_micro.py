"""ENAS in the micro space: finds cells for image classification.

    python -m launchers.cifar_micro [VERB] [flags]

Examples:
  python -m launchers.cifar_micro --preset=tiny
      the whole pipeline on scikit-learn's handwritten digits, in minutes on two CPU cores
  python -m launchers.cifar_micro --workdir=runs/mine --dataset=folder:photos --data.image_size=64
      your own images, a folder for each class
  python -m launchers.cifar_micro describe --arc=micro_enas --output=cells.svg
      explains and draws the cells that the authors published
  python -m launchers.cifar_micro train --arc=micro_enas
      trains those cells from scratch
"""

import sys

from launchers.cli import launch


def main() -> int:
    """Runs the command line; returns the exit status."""
    return launch("CIFAR_MICRO", __doc__)


if __name__ == "__main__":
    sys.exit(main())
