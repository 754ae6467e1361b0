"""What a network costs: parameters and multiply-adds."""

import math

import keras


def count_params(network: keras.Model) -> int:
    """Trained parameters, the auxiliary head's aside, as papers count them."""
    head = {id(v) for layer in network.layers if layer.name == "aux_head" for v in layer.variables}
    weights = [v for v in network.trainable_variables if id(v) not in head]
    return sum(math.prod(variable.shape) for variable in weights)


def count_multiply_adds(network: keras.Model) -> int:
    """Multiply-adds of convolutions and dense layers for one image, the auxiliary head aside."""
    return sum(_multiply_adds(layer) for layer in network.layers)


def _multiply_adds(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
    elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
        kernels = [layer.kernel]
    else:
        return 0
    places = math.prod(layer.output.shape[1:-1])
    return sum(places * math.prod(kernel.shape) for kernel in kernels)
