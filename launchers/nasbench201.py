"""ENAS in NAS-Bench-201's space: finds cells for images, each of whose accuracy is known.

    python -m launchers.nasbench201 [VERB] [flags]

Examples:
  python -m launchers.nasbench201 --preset=tiny
      the whole pipeline on scikit-learn's handwritten digits, in minutes on two CPU cores
  python -m launchers.nasbench201 --preset=robust --truth=nasbench201.csv
      on CIFAR-10, a search whose rewards rank cells better, held against the true accuracies
  python -m launchers.nasbench201 search --search.reward=truth --truth=nasbench201.csv
      the controller alone, rewarded by the accuracies in a table
  python -m launchers.nasbench201 describe --arc="3 1 3 1 1 3" --output=cell.svg
      explains and draws a cell; the benchmark's own text, |nor_conv_3x3~0|+..., does as well
  python -m launchers.nasbench201 train --arc="3 1 3 1 1 3"
      trains that cell from scratch on CIFAR-10, as the benchmark does for 12 epochs
"""

import sys

from launchers.cli import launch


def main() -> int:
    """Runs the command line; returns the exit status."""
    return launch("NASBENCH201", __doc__)


if __name__ == "__main__":
    sys.exit(main())
