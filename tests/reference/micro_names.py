"""The micro space's weights under the names of the authors' code."""

import re
from collections.abc import Iterable, Iterator

import keras

from enas_tf.layers.aux_head import AuxHead
from enas_tf.micro.controller import MicroController
from enas_tf.micro.supernet import MicroSupernet
from tests.reference.cases import Link
from tests.reference.controllers import lstm_links


def supernet_links(net: MicroSupernet) -> Iterator[Link]:
    """Of the shared-weight network; each batch norm's `bn/scale` and `bn/offset`."""
    yield from _conv("child/stem_conv", net.stem)
    for number, layer in enumerate(net.cells):
        scope, cell = f"child/layer_{number}", layer.cell
        if layer.is_reduction:
            yield from _reduction(scope, layer.reduce)
        for place, calibrate in (("x", layer.calibrate_0), ("y", layer.calibrate_1)):
            if calibrate:
                kind = _conv if hasattr(calibrate, "kernel") else _reduction
                yield from kind(f"{scope}/calibrate/pool_{place}", calibrate)
        yield from _banks(scope, cell)
        yield Link(f"{scope}/final_conv/w", cell.kernel)
        yield from _norm(f"{scope}/final_conv", cell)
    yield Link("child/fc/w", net.classifier)
    if net.aux_head:
        yield from _aux_head(net.aux_head)


def _banks(scope: str, cell: keras.layers.Layer) -> Iterator[Link]:
    """Two edges a node, x and y; each has a row for every entry that it may take."""
    weights = "w_depth", "w_point", "bn/scale", "bn/offset"
    for edge, first in enumerate(cell.first_row):
        node, side = divmod(edge, 2)
        for size, bank in zip((3, 5), cell.banks, strict=False):
            for stack in range(2):
                conv = f"{scope}/cell_{node}/{'xy'[side]}/conv_{size}x{size}/stack_{stack}"
                for name, variable in zip(weights, bank.bank.values(), strict=True):
                    rows = slice(first, first + node + 2), stack
                    yield Link(f"{conv}/{name}", variable, rows)


def _conv(scope: str, layer: keras.layers.Layer) -> Iterator[Link]:
    yield Link(f"{scope}/w", layer.kernel)
    yield from _norm(scope, layer.norm)


def _reduction(scope: str, layer: keras.layers.Layer) -> Iterator[Link]:
    yield Link(f"{scope}/path1_conv/w", layer.kernel_1)
    yield Link(f"{scope}/path2_conv/w", layer.kernel_2)
    yield from _norm(scope, layer.norm)


def _norm(scope: str, layer: keras.layers.Layer) -> Iterator[Link]:
    yield Link(f"{scope}/bn/scale", layer.scale)
    yield Link(f"{scope}/bn/offset", layer.offset)


def _aux_head(head: AuxHead) -> Iterator[Link]:
    yield from _conv("child/aux_head/proj", head.project)
    yield Link("child/aux_head/avg_pool/w", head.kernel)
    yield from _norm("child/aux_head/avg_pool", head.norm)
    yield Link("child/aux_head/fc/w", head.dense)


# From the original's names to our layers' and their attributes, one rule after the other.
NETWORK_RULES = (
    (r"^child/", ""),
    (r"^fc/w$", "classifier/kernel"),
    (r"^stem_conv/", "stem/"),
    (r"/layer_base/", "_base/"),
    (r"/calibrate/pool_x/", "_calibrate_0/"),
    (r"/calibrate/pool_y/", "_calibrate_1/"),
    (r"/cell_(\d+)/(.)_conv/", lambda at: f"_node_{int(at[1]) + 2}_{'xy'.index(at[2]) + 1}/"),
    # An input that no node takes.
    (r"/final_combine/calibrate_(\d)/", r"_end_\1/"),
    (r"/sep_conv_0/w_(depth|point)$", r"_1_conv/\1wise_kernel"),
    (r"/sep_conv_1/w_(depth|point)$", r"_2_conv/\1wise_kernel"),
    (r"/sep_conv_0/bn/", "_1_norm/"),
    (r"/sep_conv_1/bn/", "_2_norm/"),
    (r"/path(\d)_conv/w$", r"_path_\1/kernel"),
    (r"/bn/", "_norm/"),
    (r"/w$", "_conv/kernel"),
)


def network_links(net: keras.Model, names: Iterable[str]) -> Iterator[Link]:
    """Of one architecture's network, for these names of the original, moving averages too.

    The auxiliary head's moving averages have no place: it is only ever used in training.
    """
    head = [name for name in names if name.startswith("child/aux_head/")]
    if head:
        yield from _aux_head(net.get_layer("aux_head"))
    for name in sorted(set(names) - set(head)):
        path = name
        for pattern, replacement in NETWORK_RULES:
            path = re.sub(pattern, replacement, path)
        layer, attribute = path.split("/")
        yield Link(name, getattr(net.get_layer(layer), attribute))


def controller_links(controller: MicroController) -> Iterator[Link]:
    """Of the controller."""
    yield from lstm_links(controller, "controller/lstm/layer_0/w")
    yield Link("controller/g_emb", controller.start)
    yield Link("controller/emb/w", controller.op_embedding)
    yield Link("controller/softmax/w", controller.op_kernel)
    yield Link("controller/softmax/b", controller.op_bias)
    yield Link("controller/attention/w_1", controller.key_kernel)
    yield Link("controller/attention/w_2", controller.query_kernel)
    yield Link("controller/attention/v", controller.attention)
