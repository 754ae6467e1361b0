"""The macro space against the authors' code."""

import pytest
import tensorflow as tf

from enas_tf.layers.dropout import StepRng
from enas_tf.macro import network
from enas_tf.macro.controller import MacroController, MacroControllerConfig
from enas_tf.macro.space import MacroSpace
from enas_tf.macro.supernet import MacroSupernet
from tests.reference import controllers
from tests.reference.cases import VALUES, Case, NameMap, cases
from tests.reference.children import ImageChild, check_evaluations, check_steps, image_options
from tests.reference.macro_names import controller_links, network_links, supernet_links


def child_config(case):
    return network.MacroChildConfig(authors_macro=True, **image_options(case))


def image_sizes(case):
    """The images' shape, the number of classes, and random numbers of dropout, which is off."""
    return case.inputs["images"].shape[1:], case.outputs["arc0/logits"].shape[-1], StepRng(1, 0)


def check_averages(net, names):
    names.check(net.non_trainable_variables, [n for n in names.shapes if "/moving_" in n])


@pytest.fixture(scope="module", params=cases("macro_search_child"))
def search_child(request, both_forms):
    case = Case.load(request.param)
    config = child_config(case)
    space = MacroSpace(case.config["num_layers"], case.config["num_branches"])
    net = MacroSupernet(space, config, *image_sizes(case), moving_averages=True)
    names = NameMap(supernet_links(net), case.variables)
    check_averages(net, names)
    return ImageChild(case, config, net, names, net)


@pytest.fixture(scope="module", params=cases("macro_fixed_child"))
def fixed_child(request):
    case = Case.load(request.param)
    config = child_config(case)
    arc = MacroSpace(case.config["num_layers"]).parse(case.config["fixed_arc"])
    net = network.build(arc, config, *image_sizes(case))
    names = NameMap(network_links(net, case.variables), case.variables)
    averages = [v for layer in net.unjoined for v in layer.non_trainable_variables]
    assert {id(v) for v in averages} <= {id(v) for v in net.non_trainable_variables}
    check_averages(net, names)

    def forward(images, tokens, training):
        return net(images, training=training), None

    return ImageChild(case, config, net, names, forward)


def check_by_moving_averages(child, compare):
    child.restart()
    case = child.case
    for number, arc in enumerate(case.arcs()):
        logits, _ = child.forward(case.inputs["images"], tf.constant(arc), training=False)
        key = f"arc{number}/logits_eval"
        compare.check(key, logits, case.outputs[key], VALUES)


def test_reference_search_child(search_child, compare):
    check_evaluations(search_child, compare)


def test_reference_search_child_by_moving_averages(search_child, compare):
    check_by_moving_averages(search_child, compare)


def test_reference_search_child_steps(search_child, compare):
    check_steps(search_child, compare)


def test_reference_fixed_child(fixed_child, compare):
    check_evaluations(fixed_child, compare)


def test_reference_fixed_child_by_moving_averages(fixed_child, compare):
    check_by_moving_averages(fixed_child, compare)


def test_reference_fixed_child_steps(fixed_child, compare):
    check_steps(fixed_child, compare)


@pytest.fixture(scope="module", params=cases("macro_controller"))
def controller(request):
    case = Case.load(request.param)
    config = case.config
    options = {name: config[name] or 0.0 for name in ("skip_target", "skip_weight")}
    controller = MacroController(
        MacroSpace(config["num_layers"], config["num_branches"]),
        MacroControllerConfig(**controllers.controller_options(case), **options),
    )
    names = NameMap(controller_links(controller), case.variables)
    return controllers.ControllerUnderTest(case, controller, names)


def test_reference_controller_scores(controller, compare):
    layers = controller.case.config["num_layers"]
    extras = {
        "skip_penalty": controller.case.outputs["skip_penalty"],
        "skip_rate": controller.case.outputs["skip_count"] / (layers * (layers - 1) / 2),
    }
    controllers.check_scores(controller, extras, compare)


def test_reference_controller_steps(controller, compare):
    controllers.check_steps(controller, ("skip_penalty",), compare)
