"""Published architectures by name, and the values that `--arc` takes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from enas_tf.core.errors import UserError
from enas_tf.core.stores import is_remote, read_text


@dataclass(frozen=True)
class Published:
    """An architecture that its authors published.

    Attributes:
        name: its name for `--arc`.
        space: the name of its space: `"macro"`, `"micro"` or `"rnn"`.
        text: its tokens, laid out to be readable.
        op_set: the set of ops that it needs, which numbers its ops; see `--space.ops`.
        source: where it was published, and the result reported there.
    """

    name: str
    space: str
    text: str
    op_set: str
    source: str


# One layer per line: its op, then its skip bits.
MACRO_ENAS = Published(
    name="macro_enas",
    space="macro",
    text="""
0
3 0
0 1 0
2 0 0 1
2 0 0 0 0
3 1 1 0 1 0
2 0 0 0 0 0 1
2 0 1 1 0 1 1 1
1 0 1 1 1 0 1 0 1
0 0 0 0 0 0 0 0 0 0
2 0 0 0 0 0 1 0 0 0 0
0 1 0 0 1 1 0 0 0 0 1 1
2 0 1 0 0 0 0 0 1 0 1 1 0
1 0 0 1 0 0 0 1 1 1 0 1 0 1
0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0
""",
    op_set="6",
    source="github.com/melodyguan/enas, scripts/cifar10_macro_final.sh: 24 layers on CIFAR-10",
)

# One node per line: the normal cell, then the reduction cell.
MICRO_ENAS = Published(
    name="micro_enas",
    space="micro",
    text="""
0 2 0 0
0 4 0 1
0 4 1 1
1 0 0 1
0 2 1 1

1 0 1 0
0 3 0 2
1 1 3 1
1 0 0 4
0 3 1 1
""",
    op_set="5",
    source="github.com/melodyguan/enas, scripts/cifar10_micro_final.sh: 5 nodes, on CIFAR-10",
)

# Nodes are separated by commas, each with its index, then its activation.
RNN_ENAS = Published(
    name="rnn_enas",
    space="rnn",
    text="0 2, 1 0, 2 1, 2 2, 4 0, 5 0, 3 2, 6 2",
    op_set="4",
    source="github.com/google-research/google-research, enas_lm/README.md: ENAS, 8 nodes; "
    "test perplexity on Penn Treebank 57.3 +- 0.1 on GPUs, 56.1 +- 0.1 on TPUs",
)

RNN_DARTS = Published(
    name="rnn_darts",
    space="rnn",
    text="0 2, 1 1, 1 1, 1 3, 2 0, 5 2, 3 0, 5 1",
    op_set="4",
    source="github.com/google-research/google-research, enas_lm/README.md: the cell of DARTS "
    "(Liu et al., arXiv 1806.09055) in the rnn space's encoding; test perplexity on Penn "
    "Treebank 58.1",
)

_LAUNCHERS = {"macro": "cifar_macro", "micro": "cifar_micro", "rnn": "ptb_rnn"}

PUBLISHED = {arc.name: arc for arc in (MACRO_ENAS, MICRO_ENAS, RNN_ENAS, RNN_DARTS)}
"""All published architectures by name."""


def resolve(arc: str, space: str) -> tuple[str, str | None]:
    """Returns the text of the architecture that `--arc` names.

    Args:
        arc: a published name; else the path of an existing file, or its address in a store; else
            the text itself.
        space: the name of the space that it must be of.

    Returns:
        The published text, the file's text, or `arc`, which a space's `of` checks; and the set of
        ops that a published architecture needs, None for others.

    Raises:
        UserError: `arc` is a single word that is none of these, a file that cannot be read, or a
            published architecture of another space.
    """
    if arc in PUBLISHED:
        if PUBLISHED[arc].space != space:
            raise UserError(
                f"{arc} is an architecture of the {PUBLISHED[arc].space} space, which "
                f"launchers.{_LAUNCHERS[PUBLISHED[arc].space]} takes; this run is of the "
                f"{space} space"
            )
        return PUBLISHED[arc].text, PUBLISHED[arc].op_set
    if is_remote(arc):
        return read_text(arc), None
    if os.path.isfile(arc):
        try:
            return Path(arc).read_text(encoding="utf-8-sig"), None
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"the architecture's file {arc} cannot be read: {error}") from error
    words = re.findall(r"[^\s,]+", arc)
    # A lone word is a misspelt name or path, unless it is a number (one macro layer) or begins as
    # no name does: JSON, or one of the forms of others.
    if len(words) == 1 and not words[0].isdigit() and not words[0].startswith(("{", "|", "[")):
        raise UserError(
            f"no published architecture and no file is called {arc}: give one of "
            f"{', '.join(PUBLISHED)}, an existing file, or the architecture's integers"
        )
    return arc, None
