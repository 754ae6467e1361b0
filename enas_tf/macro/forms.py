"""The forms in which others write architectures of the macro space.

The numbers of ops and the meaning of skip bits are the same in all of them: bit 0 is the stem's.
References: the authors' main.py and scripts; Katib's enas-cnn-cifar10 (whose skips join a layer's
input, not its output); NNI's examples/nas/enas/macro.py.
"""

import json
import re
from collections.abc import Sequence

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
from enas_tf.macro.ops import OPS

# Katib's kinds and sizes of ops, by their numbers here.
_KATIB_OPS = {
    ("convolution", "3"): 0,
    ("separable_convolution", "3"): 1,
    ("convolution", "5"): 2,
    ("separable_convolution", "5"): 3,
    ("avg_pooling", "3"): 4,
    ("max_pooling", "3"): 5,
}


def _flat(layers: Sequence[Sequence[int]]) -> list[int]:
    """Returns the tokens of layers, checked to have an op and a bit for each entry."""
    for number, layer in enumerate(layers):
        if len(layer) != number + 1:
            raise UserError(
                f"layer {number} must have {number + 1} numbers, its op and {number} skip bits, "
                f"got {len(layer)}: {' '.join(map(str, layer))}"
            )
    return [token for layer in layers for token in layer]


def _read_printed(text: str) -> list[int] | None:
    blocks = read_blocks(text)
    return None if blocks is None else _flat(blocks)


def _read_katib(text: str) -> list[int] | None:
    """Reads Katib's nested list, alone or with the experiment's own numbers of its ops.

    With them it is a JSON object of `architecture` and `nn_config`, which Katib passes to trials.
    """
    if not re.match(r'\s*(\[\s*\[|\{\s*"(architecture|nn_config)"\s*:)', text):
        return None
    try:
        found = json.loads(text)
        layers, ops = found, None
        if isinstance(found, dict):
            layers, ops = found["architecture"], found["nn_config"]["embedding"]
        if not all(isinstance(layer, list) and layer for layer in layers):
            raise ValueError("each part must be a layer's list of integers")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            "Katib's nested list must be JSON such as [[2], [0, 0], [1, 1, 0]], or an object of "
            f"architecture, that list, and nn_config with its embedding ({error})"
        ) from error
    if ops is not None:
        layers = [[_katib_op(ops, op), *skips] for op, *skips in layers]
    return _flat(layers)


def _katib_op(ops: dict, number: int) -> int:
    """Returns the number of an op that a Katib experiment has numbered by its own list."""
    op = ops.get(str(number), {})
    kind, params = op.get("opt_type"), op.get("opt_params", {})
    if kind == "reduction":
        kind, size = params.get("reduction_type"), params.get("pool_size")
    else:
        size = params.get("filter_size")
    stride = str(params.get("stride", 1))
    key = (str(kind), str(size))
    if key not in _KATIB_OPS or stride != "1":
        raise UserError(
            f"op {number} of Katib's list is {kind or 'missing'} of size {size}, stride {stride}, "
            f"which this space lacks; it has {', '.join(OPS.names[: OPS.default])}, of stride 1"
        )
    return _KATIB_OPS[key]


def _read_nni(text: str) -> list[int] | None:
    keys = re.findall(r'"(LayerChoice|InputChoice)(\d+)"\s*:', text)
    if not keys or not text.lstrip().startswith("{"):
        return None
    choices = decode_json(text)
    layers: list[list[int]] = []
    # NNI numbers its choices from layer to layer: the op, then the skip connections.
    for kind, number in sorted(keys, key=lambda key: int(key[1])):
        key = kind + number
        if kind == "LayerChoice":
            ops = chosen(choices[key], OPS.default, key)
            if len(ops) != 1:
                raise UserError(f"NNI's {key} must choose one op, got {choices[key]}")
            layers.append(ops)
        else:
            entries = chosen(choices[key], len(layers) - 1, key)
            layers[-1] += [int(entry in entries) for entry in range(len(layers) - 1)]
    return _flat(layers)


def _layers(arc) -> list[list[int]]:
    return [[layer.op, *layer.skips] for layer in arc.layers]


def _write_nni(arc) -> str:
    choices: dict[str, list[bool]] = {}
    for layer in arc.layers:
        ops = [number == layer.op for number in range(OPS.default)]
        choices[f"LayerChoice{len(choices) + 1}"] = ops
        if layer.skips:
            choices[f"InputChoice{len(choices) + 1}"] = list(map(bool, layer.skips))
    return json.dumps(choices)


FORMS = (
    Form("printed", _read_printed, lambda arc: write_blocks(_layers(arc))),
    Form("script", read_script, lambda arc: write_script(_layers(arc))),
    Form("katib", _read_katib, lambda arc: json.dumps(_layers(arc))),
    Form("nni", _read_nni, _write_nni),
)
"""All of them; a text is read in the first form that it has."""
