"""The weights of an architecture's own network, as the shared-weight network has them."""

import tensorflow as tf


def pairs(shared, network, arc, config):
    """Each weight of the network, with the values in the shared weights that stand for it."""
    yield from _conv_norm(network, "stem", shared.stem)
    num_edges = len(arc.tokens)
    for stage, layer in enumerate(shared.stages):
        if stage:
            name, reduction = f"reduction_{stage}", shared.reductions[stage - 1]
            yield from _conv_norm(network, f"{name}_1", reduction.halve)
            yield from _conv_norm(network, f"{name}_2", reduction.conv)
            yield network.get_layer(f"{name}_shortcut_conv").kernel, reduction.shortcut
        for cell in range(config.num_cells):
            row = cell * num_edges
            for node, ops in enumerate(arc.nodes, 1):
                for source, op in enumerate(ops):
                    bank = layer.banks[op].bank
                    name = f"stage_{stage}_cell_{cell}_node_{node}_from_{source}"
                    if bank:
                        norm = network.get_layer(f"{name}_norm")
                        yield network.get_layer(f"{name}_conv").kernel, bank["kernel"][row]
                        yield norm.scale, bank["scale"][row]
                        yield norm.offset, bank["offset"][row]
                    row += 1
    norm = network.get_layer("last_norm")
    yield norm.scale, shared.last_norm.scale
    yield norm.offset, shared.last_norm.offset
    yield network.get_layer("classifier").kernel, shared.classifier
    yield network.get_layer("classifier").bias, shared.bias


def copy(shared, network, arc, config):
    """Gives the network the shared weights."""
    for own, value in pairs(shared, network, arc, config):
        own.assign(tf.reshape(value, own.shape))


def _conv_norm(network, name, layer):
    norm = network.get_layer(f"{name}_norm")
    yield network.get_layer(f"{name}_conv").kernel, layer.kernel
    yield norm.scale, layer.norm.scale
    yield norm.offset, layer.norm.offset
