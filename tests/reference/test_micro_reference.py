"""The micro space against the authors' code."""

import pytest

from enas_tf.core.network_config import CellChildConfig
from enas_tf.layers.dropout import StepRng
from enas_tf.micro import network
from enas_tf.micro.controller import MicroController
from enas_tf.micro.space import MicroSpace
from enas_tf.micro.supernet import MicroSupernet
from enas_tf.search.controller import ControllerConfig
from tests.reference import controllers
from tests.reference.cases import VALUES, Case, NameMap, cases
from tests.reference.children import ImageChild, check_evaluations, check_steps, image_options
from tests.reference.micro_names import controller_links, network_links, supernet_links


def child_config(case):
    return CellChildConfig(num_layers=case.config["num_layers"], **image_options(case))


def image_sizes(case):
    """The images' shape, the number of classes, and random numbers of dropout, which is off."""
    return case.inputs["images"].shape[1:], case.outputs["arc0/logits"].shape[-1], StepRng(1, 0)


@pytest.fixture(scope="module", params=cases("micro_search_child"))
def search_child(request):
    case = Case.load(request.param)
    config = child_config(case)
    net = MicroSupernet(MicroSpace(case.config["num_cells"]), config, *image_sizes(case))
    return ImageChild(case, config, net, NameMap(supernet_links(net), case.variables), net)


def build_fixed(folder):
    case = Case.load(folder)
    config = child_config(case)
    arc = MicroSpace(case.config["num_cells"]).parse(case.config["fixed_arc"])
    net = network.build(arc, config, *image_sizes(case))
    names = NameMap(network_links(net, case.variables), case.variables)
    names.check(net.non_trainable_variables, [n for n in names.shapes if "/moving_" in n])

    def forward(images, tokens, training):
        outputs = net(images, training=training)
        return outputs if config.aux_head else (outputs, None)

    return ImageChild(case, config, net, names, forward)


@pytest.fixture(scope="module", params=cases("micro_fixed_child"))
def fixed_child(request):
    return build_fixed(request.param)


def test_reference_search_child(search_child, compare):
    check_evaluations(search_child, compare)


def test_reference_search_child_steps(search_child, compare):
    check_steps(search_child, compare)


def test_reference_fixed_child(fixed_child, compare):
    check_evaluations(fixed_child, compare)


def test_reference_fixed_child_by_moving_averages(fixed_child, compare):
    fixed_child.restart()
    case = fixed_child.case
    logits, _ = fixed_child.forward(case.inputs["images"], None, training=False)
    compare.check("logits_eval", logits, case.outputs["arc0/logits_eval"], VALUES)


def test_reference_fixed_child_steps(fixed_child, compare):
    check_steps(fixed_child, compare)


@pytest.fixture(scope="module", params=cases("micro_controller"))
def controller(request):
    case = Case.load(request.param)
    options = controllers.controller_options(case)
    controller = MicroController(
        MicroSpace(case.config["num_cells"]),
        ControllerConfig(**options, op_tanh_reduce=case.config["op_tanh_reduce"]),
    )
    names = NameMap(controller_links(controller), case.variables)
    return controllers.ControllerUnderTest(case, controller, names)


def test_reference_controller_scores(controller, compare):
    controllers.check_scores(controller, {}, compare)


def test_reference_controller_steps(controller, compare):
    controllers.check_steps(controller, (), compare)
