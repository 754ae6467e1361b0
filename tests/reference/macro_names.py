"""The macro space's weights under the names of the authors' code."""

import re
from collections.abc import Iterable, Iterator

import keras

from enas_tf.layers.norm import MovingAverages
from enas_tf.macro.controller import MacroController
from enas_tf.macro.supernet import MacroSupernet
from tests.reference.cases import Link
from tests.reference.controllers import lstm_links


def supernet_links(net: MacroSupernet) -> Iterator[Link]:
    """Of the shared-weight network, moving averages too."""
    yield Link("child/stem_conv/w", net.stem.kernel)
    for name in ("scale", "offset", "moving_mean", "moving_variance"):
        yield Link(f"child/stem_conv/bn/{name}", getattr(net.stem.norm, name))
    for layer in range(net.space.num_layers):
        scope = f"child/layer_{layer}"
        for op in range(net.layer_banks.num_ops):
            yield from _op(f"{scope}/branch_{op}", net, layer, op)
        if layer:
            norm = net.skip_scale, net.skip_offset
            yield from _norm(f"{scope}/skip", norm, net.skip_averages, (layer - 1,))
        if layer in net.space.pools:
            bank = net.reductions[str(layer)]
            for entry in range(bank.num_inputs):
                yield from _reduction(f"{scope}/pool_at_{layer}/from_{entry}", bank, entry)
    yield Link("child/fc/w", net.classifier)


def _op(scope: str, net: MacroSupernet, layer: int, op: int) -> Iterator[Link]:
    layers, bank = net.layer_banks, net.layer_banks.banks[op]
    is_pool = not bank.op.num_norms
    first = f"{scope}/conv_1" if is_pool else f"{scope}/inp_conv_1"
    yield Link(f"{first}/w", layers.kernel, (layer, op))
    yield from _norm(first, (layers.scale, layers.offset), layers.averages, (layer, op))
    if is_pool:
        return
    out = f"{scope}/out_conv_{bank.op.kernel_size}"
    if "depthwise" in bank.bank:
        yield Link(f"{out}/w_depth", bank.bank["depthwise"], (layer,))
        for channel in range(net.channels):
            # Theirs is transposed.
            ours = layer, slice(None), channel
            yield Link(f"{out}/w_point", bank.bank["pointwise"], ours, (channel,))
    else:
        yield Link(f"{out}/w", bank.bank["kernel"], (layer,))
    norm = bank.bank["scale"], bank.bank["offset"]
    yield from _norm(out, norm, bank.averages, (layer, 0))


def _reduction(scope: str, bank: keras.layers.Layer, entry: int) -> Iterator[Link]:
    for path in range(2):
        yield Link(f"{scope}/path{path + 1}_conv/w", bank.bank["kernels"], (entry, path))
    yield from _norm(scope, (bank.bank["scale"], bank.bank["offset"]), bank.averages, (entry,))


def _norm(
    scope: str, norm: tuple, averages: MovingAverages, row: tuple[int, ...]
) -> Iterator[Link]:
    yield Link(f"{scope}/bn/scale", norm[0], row)
    yield Link(f"{scope}/bn/offset", norm[1], row)
    yield Link(f"{scope}/bn/moving_mean", averages.mean, row)
    yield Link(f"{scope}/bn/moving_variance", averages.variance, row)


# From the original's names to our layers' and their attributes, one rule after the other.
NETWORK_RULES = (
    (r"^child/", ""),
    (r"^fc/w$", "classifier/kernel"),
    (r"^stem_conv/", "stem/"),
    (r"/conv_1x1/", "_project/"),
    (r"/conv_(\d)x\1/", "_op/"),
    (r"/skip/", "_skip/"),
    (r"/pool_at_\d+/from_(\d+)/", r"_pool_\1/"),
    (r"/path(\d)_conv/w$", r"_path_\1/kernel"),
    (r"/bn/", "_norm/"),
    (r"/w$", "_conv/kernel"),
)


def network_links(net: keras.Model, names: Iterable[str]) -> Iterator[Link]:
    """Of one architecture's network, for these names of the original, moving averages too."""
    layers = {layer.name: layer for layer in [*net.layers, *net.unjoined]}
    for name in sorted(names):
        path = name
        for pattern, replacement in NETWORK_RULES:
            path = re.sub(pattern, replacement, path)
        layer, attribute = path.split("/")
        yield Link(name, getattr(layers[layer], attribute))


def controller_links(controller: MacroController) -> Iterator[Link]:
    """Of the controller."""
    yield from lstm_links(controller, "controller/lstm/layer_0/w")
    yield Link("controller/g_emb", controller.start)
    yield Link("controller/emb/w", controller.op_embedding)
    yield Link("controller/softmax/w", controller.op_kernel)
    yield Link("controller/attention/w_1", controller.key_kernel)
    yield Link("controller/attention/w_2", controller.query_kernel)
    yield Link("controller/attention/v", controller.attention)
