"""ENAS in the macro space: finds whole networks for image classification.

    python -m launchers.cifar_macro [VERB] [flags]

Examples:
  python -m launchers.cifar_macro --preset=tiny
      the whole pipeline on scikit-learn's handwritten digits, in minutes on two CPU cores
  python -m launchers.cifar_macro --workdir=runs/mine --dataset=folder:photos --data.image_size=64
      your own images, a folder for each class
  python -m launchers.cifar_macro describe --arc=macro_enas --output=network.svg
      explains and draws the network that the authors published
  python -m launchers.cifar_macro train --arc=macro_enas
      trains that network from scratch
"""

import sys

from launchers.cli import launch


def main() -> int:
    """Runs the command line; returns the exit status."""
    return launch("CIFAR_MACRO", __doc__)


if __name__ == "__main__":
    sys.exit(main())
