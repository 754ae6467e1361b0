"""The forms in which others write architectures of the micro space.

References: the authors' main.py and scripts; NNI's examples/nas/enas/micro.py; `Genotype` of DARTS
(Liu et al., ICLR 2019).
"""

import ast
import json
import re
from itertools import chain

from enas_tf.core.errors import UserError
from enas_tf.core.forms import (
    Form,
    chosen,
    decode_json,
    read_blocks,
    read_script,
    write_blocks,
    write_script,
)
from enas_tf.micro.ops import OPS

# DARTS' names of the ops, in the order of their numbers here.
_DARTS_OPS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")

_NNI_CELLS = ("normal", "reduce")


def _read_printed(text: str) -> list[int] | None:
    blocks = read_blocks(text)
    if blocks is None:
        return None
    if len(blocks) != 2 or len(blocks[0]) != len(blocks[1]):
        raise UserError(
            "the micro space needs two arrays of the same length, the normal cell's and the "
            f"reduction cell's, got arrays of {', '.join(str(len(b)) for b in blocks)} numbers"
        )
    return [token for block in blocks for token in block]


def _read_nni(text: str) -> list[int] | None:
    if not re.match(r'\s*\{\s*"(normal|reduce)_node_\d+_[xy]_', text):
        return None
    choices = decode_json(text)
    count = len(choices) // 8
    tokens = []
    for cell in _NNI_CELLS:
        for node in range(count):
            for side in "xy":
                place = f"{cell}_node_{node}_{side}"
                tokens += [
                    _one(choices, f"{place}_input", node + 2),
                    _one(choices, f"{place}_op", OPS.default),
                ]
    return tokens


def _one(choices: dict, key: str, count: int) -> int:
    if key not in choices:
        raise UserError(f"NNI's JSON lacks {key}")
    numbers = chosen(choices[key], count, key)
    if len(numbers) != 1:
        raise UserError(f"NNI's {key} must choose one, got {choices[key]}")
    return numbers[0]


def _write_nni(arc) -> str:
    choices = {}
    for name, cell in zip(_NNI_CELLS, (arc.normal, arc.reduction), strict=True):
        for number, node in enumerate(cell):
            for side, (index, op) in zip("xy", node.inputs, strict=True):
                place = f"{name}_node_{number}_{side}"
                choices[f"{place}_input"] = [entry == index for entry in range(number + 2)]
                choices[f"{place}_op"] = [other == op for other in range(OPS.default)]
    return json.dumps(choices)


def _read_genotype(text: str) -> list[int] | None:
    if not re.match(r"\s*(\w+\s*=\s*)?Genotype\(", text):
        return None
    parts = _genotype_parts(text)
    if "recurrent" in parts:
        raise UserError(
            "this genotype is of a recurrent cell, which is for launchers.ptb_rnn; its first node "
            "differs from that space's, so that it must be written in its numbers, as rnn_darts is"
        )
    tokens = []
    for cell in ("normal", "reduce"):
        tokens += _read_cell(cell, parts.get(cell, []), parts.get(f"{cell}_concat"))
    return tokens


def _genotype_parts(text: str) -> dict[str, list]:
    """Returns the arguments of `Genotype`, by their names."""
    try:
        [statement] = ast.parse(text.strip()).body
        return {part.arg: list(_literal(part.value)) for part in statement.value.keywords}
    except (SyntaxError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            "a genotype must be written as DARTS prints it: Genotype(normal=[('sep_conv_3x3', 1), "
            "...], normal_concat=[2, 3, 4, 5], reduce=[...], reduce_concat=[...])"
        ) from error


def _literal(node: ast.expr) -> object:
    """Returns the value of a literal, or of `range(...)`."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range":
        return range(*map(ast.literal_eval, node.args))
    return ast.literal_eval(node)


def _read_cell(cell: str, pairs: list, concat: list | None) -> list[int]:
    """Returns the tokens of a cell, of which each node has two pairs of an op and an index."""
    tokens, used = [], set()
    for op, index in pairs:
        if op not in _DARTS_OPS:
            raise UserError(
                f"the genotype's {cell} cell has {op}, which this space lacks; it has "
                f"{', '.join(_DARTS_OPS)}"
            )
        tokens += [index, _DARTS_OPS.index(op)]
        used.add(index)
    loose = [entry for entry in range(len(pairs) // 2 + 2) if entry not in used]
    if sorted(concat or []) != loose:
        raise UserError(
            f"the genotype's {cell} cell joins the entries {', '.join(map(str, concat or []))}; a "
            f"cell of this space joins those that no node reads, here {', '.join(map(str, loose))}"
        )
    return tokens


def _write_genotype(arc) -> str:
    parts = []
    for name, cell in (("normal", arc.normal), ("reduce", arc.reduction)):
        pairs = [(_DARTS_OPS[op], index) for node in cell for index, op in node.inputs]
        parts += [f"{name}={pairs}", f"{name}_concat={list(arc.loose_ends(cell))}"]
    return f"Genotype({', '.join(parts)})"


FORMS = (
    Form(
        "printed",
        _read_printed,
        lambda arc: write_blocks([[*chain(*cell)] for cell in (arc.normal, arc.reduction)]),
    ),
    Form("script", read_script, lambda arc: write_script([*arc.normal, *arc.reduction])),
    Form("nni", _read_nni, _write_nni),
    Form("genotype", _read_genotype, _write_genotype),
)
"""All of them; a text is read in the first form that it has."""
