"""The micro space against the authors' code."""

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.child import ChildConfig
from enas_tf.controllers.base import ControllerConfig
from enas_tf.controllers.micro import MicroController
from enas_tf.layers.dropout import Clock
from enas_tf.networks import micro as network
from enas_tf.reinforce import Reinforce
from enas_tf.spaces.micro import MicroSpace
from enas_tf.supernets.micro import MicroSupernet
from tests.reference.cases import GRADIENTS, RATES, VALUES, Case, NameMap, cases, norms
from tests.reference.children import ImageChild, check_evaluation, check_steps
from tests.reference.micro_names import controller_links, network_links, supernet_links


def child_config(case):
    """The options that have the network do as the case's did."""
    options = "num_layers", "out_filters", "keep_prob", "drop_path_keep_prob"
    return ChildConfig(
        aux_head=case.config["use_aux_heads"], **{name: case.config[name] for name in options}
    )


def image_sizes(case):
    """The images' shape, the number of classes, and a clock for dropout, of which there is none."""
    return case.inputs["images"].shape[1:], case.outputs["arc0/logits"].shape[-1], Clock(1, 0)


@pytest.fixture(scope="module", params=cases("micro_search_child"))
def search_child(request):
    case = Case.load(request.param)
    space = MicroSpace(case.config["num_cells"])
    net = MicroSupernet(space, child_config(case), *image_sizes(case))
    names = NameMap(supernet_links(net), case.variables)
    check_trained(case, names, net)
    return ImageChild(case, names, lambda images, tokens: net(images, tokens, training=True))


@pytest.fixture(scope="module", params=cases("micro_fixed_child"))
def fixed_child(request):
    case = Case.load(request.param)
    arc = MicroSpace(case.config["num_cells"]).parse(case.config["fixed_arc"])
    net = network.build(arc, child_config(case), *image_sizes(case))
    names = NameMap(network_links(net, case.variables), case.variables)
    check_trained(case, names, net)
    averages = [name for name in names.shapes if "/moving_" in name]
    names.check(net.non_trainable_variables, averages)

    def run(images, tokens):
        logits, *aux_logits = net(images, training=True)
        return logits, aux_logits[0] if aux_logits else None

    return ImageChild(case, names, run), net


def check_trained(case, names, net):
    """The map covers what the original trains, and the auxiliary head that it does not (B8)."""
    head = [name for name in names.shapes if name.startswith("child/aux_head/")]
    names.check(net.trainable_variables, [*case.meta["trained_variables"], *head])


def test_reference_search_child(search_child, compare):
    search_child.restore()
    for number in range(len(search_child.case.arcs())):
        check_evaluation(search_child, number, compare)


def test_reference_search_child_steps(search_child, compare):
    search_child.restore()
    check_steps(search_child, compare)


def test_reference_fixed_child(fixed_child, compare):
    child, net = fixed_child
    child.restore()
    case = child.case
    logits_eval, *_ = net(case.inputs["images"], training=False)
    compare.close("logits_eval", logits_eval, case.outputs["arc0/logits_eval"], VALUES)
    check_evaluation(child, 0, compare)


def test_reference_fixed_child_steps(fixed_child, compare):
    child, _ = fixed_child
    child.restore()
    check_steps(child, compare)
