"""Asks a running model server for the labels of images, or the scores of text.

    python -m launchers.predict --model=NAME FILES_OR_FOLDERS... [flags]
    python -m launchers.predict --model=NAME --text [FILES...] [flags]

It prints a table, columns separated by tabs: file, likeliest label and its probability; or text,
perplexity and number of tokens, where the end of a line is a token too. Image files that cannot be
read or decoded are named on standard error; the others get their labels, and the exit status is 2.

Examples:
  python -m launchers.predict --model=cifar_micro photo.png photos
      one file, and every image file in a folder and the folders in it
  python -m launchers.predict --server=models.example.org:8500 --grpc --model=cifar_micro photos
      another machine's server, by gRPC
  echo "some words" | python -m launchers.predict --model=ptb_rnn --text
      a line of text
"""

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from enas_tf.core.errors import UserError
from enas_tf.serving.base import Client
from enas_tf.serving.predict import (
    PredictConfig,
    Unlabelled,
    label_images,
    read_lines,
    score_lines,
)
from enas_tf.serving.rest import RestClient
from launchers.cli import run_command
from launchers.flags import Flags
from launchers.start_up import import_tensorflow_quietly


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the program's name and its arguments; None takes `sys.argv`.

    Returns:
        The exit status: 0, or one of `run_command`'s.
    """
    return run_command(_run, argv)


def _run(argv: Sequence[str]) -> int:
    flags = Flags(__doc__)
    flags.add("", {"default": PredictConfig()})
    paths = flags.parse(argv)
    config = flags.config("")
    printed = failed = 0
    for row in _rows(config, paths):
        if isinstance(row, Unlabelled):
            print(f"note: {row.file} has no label: {row.reason}", file=sys.stderr, flush=True)
            failed += 1
            continue
        if printed == 0:
            print(*row._fields, sep="\t")
        print(*(f"{x:.4f}" if isinstance(x, float) else x for x in row), sep="\t", flush=True)
        printed += 1
    if failed:
        raise UserError(f"{failed} of {failed + printed} files could not be labelled, see above")
    return 0


def _rows(config: PredictConfig, paths: Sequence[str]) -> Iterator[NamedTuple]:
    if config.model is None:
        raise UserError("give the model's name, --model=NAME: that of the export's folder")
    if config.text:
        return score_lines(_client(config), read_lines(paths), config.batch_size)
    if not paths:
        raise UserError("give image files or folders of them; for text, --text")
    return label_images(_client(config), paths, config.batch_size)


def _client(config: PredictConfig) -> Client:
    if not config.grpc:
        return RestClient(config.address, config.model, config.timeout)
    # Only here, since the REST client starts faster without TensorFlow.
    import_tensorflow_quietly()
    from enas_tf.serving.grpc_client import GrpcClient

    return GrpcClient(config.address, config.model, config.timeout)


if __name__ == "__main__":
    sys.exit(main())
