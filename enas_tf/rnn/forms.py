"""The forms in which others write cells of the rnn space; reference: google-research's enas_lm."""

from enas_tf.core.errors import UserError
from enas_tf.core.forms import Form, read_blocks, read_script, write_blocks, write_script


def _read_printed(text: str) -> list[int] | None:
    blocks = read_blocks(text)
    return None if blocks is None else _checked([token for block in blocks for token in block])


def _read_script(text: str) -> list[int] | None:
    tokens = read_script(text)
    return None if tokens is None else _checked(tokens)


def _checked(tokens: list[int]) -> list[int]:
    if len(tokens) % 2:
        raise UserError(
            f"{len(tokens)} numbers are no cell of enas_lm, which has two for each node; an odd "
            "number is of melodyguan/enas, whose first node has an activation only, and whose "
            "language model its authors have replaced by enas_lm"
        )
    return tokens


FORMS = (
    Form("printed", _read_printed, lambda arc: write_blocks([arc.tokens])),
    Form("script", _read_script, lambda arc: write_script([arc.tokens])),
)
"""All of them; a text is read in the first form that it has."""
