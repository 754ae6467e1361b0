"""Architectures as others write them."""

import json
import random
import re

import pytest

from enas_tf.core.errors import UserError
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.rnn.space import RnnSpace

SPACES = [MacroSpace(5), MicroSpace(3), RnnSpace(4), Nasbench201Space(4)]
FORMS = [(s, f.name) for s in SPACES for f in s.forms]


@pytest.mark.parametrize(
    ("space", "form"), [*FORMS, *((space, name) for space in SPACES for name in ("tokens", "json"))]
)
def test_reads_what_it_writes(space, form):
    for seed in range(20):
        arc = space.random(random.Random(seed))
        text = space.write_form(arc, form)
        assert space.parse(text) == arc
        assert type(space).of(f"\n {text}\n")[1] == arc


MACRO = "1  1 1  5 0 0"


@pytest.mark.parametrize(
    "text",
    [
        "[1]\n[1 1]\n[5 0 0]\nval_acc=0.7461\n" + 80 * "-",
        '#!/bin/bash\nfixed_arc="1"\nfixed_arc="$fixed_arc 1 1"\nfixed_arc="${fixed_arc} 5 0 0"\n'
        'python main.py --child_fixed_arc "${fixed_arc}"',
        "[[1],[1,1],[5,0,0]]",
        '{"LayerChoice1": [false, true, false, false, false, false], "LayerChoice2": 1, '
        '"InputChoice3": [true], "LayerChoice4": [5], "InputChoice5": [false, false]}',
        '{"LayerChoice1": 1, "LayerChoice2": 1, "InputChoice3": [0], "LayerChoice4": 5, '
        '"InputChoice5": []}',
    ],
    ids=["printed", "script", "katib", "nni masks", "nni numbers"],
)
def test_macro_architectures_of_others(text):
    assert MacroSpace.of(text)[1] == MacroSpace.of(MACRO)[1]


def katib(**op):
    op = {"opt_type": "convolution", "opt_params": {"filter_size": "5", "stride": "1"}} | op
    pool = {
        "opt_type": "reduction",
        "opt_params": {"reduction_type": "max_pooling", "pool_size": 3},
    }
    embedding = {"7": {"opt_id": 7, **op}, "8": {"opt_id": 8, **pool}}
    return json.dumps(
        {"architecture": [[8], [7, 1]], "nn_config": {"num_layers": 2, "embedding": embedding}}
    )


def test_katibs_own_numbers_of_ops_are_translated():
    assert MacroSpace.of(katib())[1].tokens == (5, 2, 1)
    with pytest.raises(UserError, match="op 7 of Katib's list is depthwise_convolution of size 5"):
        MacroSpace.of(katib(opt_type="depthwise_convolution"))
    with pytest.raises(UserError, match="of size 3, stride 2, which this space lacks; it has conv"):
        MacroSpace.of(katib(opt_params={"filter_size": "3", "stride": "2"}))


NNI_MICRO = {
    f"{cell}_node_0_{side}_{what}": value
    for cell, values in {"normal": (1, 4, 0, 2), "reduce": (0, 0, 1, 3)}.items()
    for (side, what), value in zip(
        (("x", "input"), ("x", "op"), ("y", "input"), ("y", "op")), values, strict=True
    )
}
GENOTYPE = (
    "Genotype(normal=[('skip_connect', 1), ('avg_pool_3x3', 0)], normal_concat=range(2, 3), "
    "reduce=[('sep_conv_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2])"
)


@pytest.mark.parametrize(
    "text",
    [
        "[1 4 0 2]\n[0 0\n 1 3]\nval_acc=0.6",
        'fixed_arc="1 4 0 2"\nfixed_arc="$fixed_arc 0 0 1 3"',
        json.dumps(NNI_MICRO),
        GENOTYPE,
        f"BEST = {GENOTYPE}",
    ],
    ids=["printed", "script", "nni", "genotype", "named genotype"],
)
def test_micro_architectures_of_others(text):
    assert MicroSpace.of(text)[1].tokens == (1, 4, 0, 2, 0, 0, 1, 3)


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (MicroSpace, "Genotype(normal=[('skip_connect', 1, 2)], normal_concat=[2])"),
        (MicroSpace, "Genotype(normal=[('skip_connect', [1])], normal_concat=[2])"),
        (MicroSpace, "Genotype(normal=[('skip_connect', 1)] * 2, normal_concat=[2, 'x'])"),
        (MacroSpace, '{"architecture": [[0]], "nn_config": {"embedding": ["convolution"]}}'),
        (MacroSpace, '{"architecture": [[0]], "nn_config": {"embedding": {"0": "pool"}}}'),
        (MacroSpace, '{"InputChoice1": [true], "LayerChoice2": 1}'),
        (MacroSpace, '{"a": {"LayerChoice1": 1}}'),
    ],
)
def test_what_looks_like_a_form_but_is_not_whole_is_told(space, text):
    with pytest.raises(UserError) as error:
        space.of(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["[0 2 1 0]", "--fixed_arc='0 2 1 0'"])
def test_cells_of_enas_lm(text):
    assert RnnSpace.of(text)[1].tokens == (0, 2, 1, 0)


@pytest.mark.parametrize(
    ("space", "text", "told"),
    [
        (MacroSpace, "[1]\nval_acc=1\n[2]\nval_acc=2", "has 2 architectures, each with its val_"),
        (MacroSpace, "[1]\n[1 1 0]", "layer 1 must have 2 numbers, its op and 1 skip bits, got 3"),
        (MacroSpace, "[[1],[1]]", "layer 1 must have 2 numbers"),
        (MacroSpace, "[[1],[1,7]]", "skip from stem) must be an integer from 0 to 1"),
        (MacroSpace, "[[1],", "nested list must be JSON such as [[2], [0, 0], [1, 1, 0]]"),
        (MacroSpace, '{"LayerChoice1": [true', "architecture's JSON cannot be read"),
        (MicroSpace, '{"normal_node_0_x_op": 1', "architecture's JSON cannot be read"),
        (MacroSpace, "[[1],2]", "each part must be a layer's list of integers"),
        (MacroSpace, '{"LayerChoice1": [true, false]}', "LayerChoice1 must choose among 6, by a"),
        (MacroSpace, '{"LayerChoice1": [0, 1]}', "LayerChoice1 must choose one op, got [0, 1]"),
        (
            MicroSpace,
            "[1 4 0 2]",
            "two arrays of the same length, .* got arrays of 4 numbers",
        ),
        (MicroSpace, json.dumps(NNI_MICRO | {"normal_node_0_y_op": 9}), "y_op must choose among 5"),
        (
            MicroSpace,
            json.dumps(
                {k: v for k, v in NNI_MICRO.items() if k[0] == "n"}
                | {"a": 0, "b": 0, "c": 0, "d": 0}
            ),
            "lacks reduce_node_0_x_input",
        ),
        (MicroSpace, GENOTYPE.replace("avg_pool_3x3", "dil_conv_3x3"), "dil_conv_3x3, which this"),
        (
            MicroSpace,
            GENOTYPE.replace("[2]", "[1, 2]"),
            "reduce cell joins the entries 1, 2; a cell of this space joins .* here 2",
        ),
        (MicroSpace, "Genotype(normal=3", "must be written as DARTS prints it"),
        (MicroSpace, "Genotype(recurrent=[('tanh', 0)], concat=[1])", "is for launchers.ptb_rnn"),
        (
            RnnSpace,
            "[0 0 0 1 1]",
            "5 numbers are no cell of enas_lm, .* is of melodyguan",
        ),
        (RnnSpace, "fixed_arc='0 0 0'", "3 numbers are no cell of enas_lm"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(space, text, told):
    pattern = re.escape(told).replace(re.escape(".*"), ".*")
    with pytest.raises(UserError, match=pattern) as caught:
        space.of(text)
    assert "\n" not in str(caught.value)


def test_other_forms_have_the_usual_ops_only():
    space = MacroSpace(1, "conv 5x5,max pool 3x3")
    with pytest.raises(
        UserError, match=r"katib is for the ops of --space\.ops=6, .* use tokens or json"
    ):
        space.write_form(space.parse([1]), "katib")
    assert space.write_form(space.parse([1]), "tokens") == "1"
    with pytest.raises(UserError, match="must be one of tokens, json, printed, script, katib, nni"):
        space.write_form(space.parse([1]), "onnx")
