"""The rnn space's weights under the names of the authors' code."""

from collections.abc import Iterator

import keras

from enas_tf.rnn.controller import RnnController
from enas_tf.rnn.language_model import LanguageModel
from enas_tf.rnn.network import RnnNetwork
from enas_tf.rnn.supernet import RnnSupernet
from tests.reference.cases import Link
from tests.reference.controllers import lstm_links


def controller_links(controller: RnnController) -> Iterator[Link]:
    """Of the controller."""
    yield from lstm_links(controller, "controller/lstm/w")
    yield Link("controller/embedding/g", controller.start)
    yield Link("controller/embedding/w", controller.op_embedding)
    yield Link("controller/attention/w_1", controller.key_kernel)
    yield Link("controller/attention/w_2", controller.query_kernel)
    yield Link("controller/attention/v", controller.attention)


def supernet_links(net: RnnSupernet) -> Iterator[Link]:
    """Of the shared-weight network, and the state of training."""
    yield from _language_model("child", net, net.recurrence.banks, first=1)


def network_links(net: RnnNetwork) -> Iterator[Link]:
    """Of one architecture's network, and the state of training. Theirs counts nodes from 0."""
    yield from _language_model("language_model", net, net.recurrence.kernels, first=0)


def _language_model(
    scope: str, net: LanguageModel, kernels: list[keras.Variable], first: int
) -> Iterator[Link]:
    yield Link(f"{scope}/embedding/w", net.recurrence.embedding)
    yield Link(f"{scope}/rnn_cell/w_prev", net.recurrence.entry_kernel)
    for node, kernel in enumerate(kernels, first):
        yield Link(f"{scope}/rnn_cell/layer_{node}/w", kernel)
    yield Link(f"{scope}/init_states/batch/s", net.carried.state)
