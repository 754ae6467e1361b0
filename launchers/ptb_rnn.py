"""ENAS in the rnn space: finds recurrent cells for language models.

    python -m launchers.ptb_rnn [VERB] [flags]

Examples:
  python -m launchers.ptb_rnn --preset=tiny
      the whole pipeline on the prose of Python's own manual, in minutes on two CPU cores
  python -m launchers.ptb_rnn --data_dir=ptb
      the Penn Treebank: the folder ptb holds ptb.train.txt, ptb.valid.txt and ptb.test.txt
  python -m launchers.ptb_rnn --workdir=runs/mine --dataset=text:corpus
      your own text: the folder corpus holds train.txt, valid.txt and test.txt
  python -m launchers.ptb_rnn describe --arc=rnn_enas --output=cell.svg
      explains and draws the cell that the authors published
  python -m launchers.ptb_rnn train --arc=rnn_enas --data_dir=ptb
      trains that cell from scratch
"""

import sys

from launchers.cli import launch


def main() -> int:
    """Runs the command line; returns the exit status."""
    return launch("PTB_RNN", __doc__)


if __name__ == "__main__":
    sys.exit(main())
