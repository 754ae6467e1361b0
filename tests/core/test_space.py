"""The contract of every search space, and what `Space` does for all of them."""

import itertools
import json
import random
from collections import Counter

import pytest

from enas_tf.core.errors import UserError
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace
from enas_tf.nasbench201.space import Nasbench201Space
from enas_tf.rnn.space import RnnSpace

ACTIVATIONS = RnnSpace(1).op_options

SPACES = [
    MicroSpace(1),
    MicroSpace(5),
    MacroSpace(1),
    MacroSpace(4),
    MacroSpace(12, op_set=7),
    RnnSpace(1),
    RnnSpace(8),
    Nasbench201Space(2),
    Nasbench201Space(4),
]

every_space = pytest.mark.parametrize("space", SPACES, ids=repr)


def options_of(space):
    return {"op_set": space.op_set} if isinstance(space, MacroSpace) else {}


def some_arcs(space):
    rng = random.Random(3)
    return [space.random(rng) for _ in range(20)]


@every_space
def test_all_forms_of_an_arc_read_back_as_the_same_arc(space):
    for arc in some_arcs(space):
        text = str(arc)
        assert text == " ".join(str(token) for token in arc.tokens)
        forms = [
            arc,
            arc.tokens,
            iter(arc.tokens),
            text,
            text.replace(" ", ","),
            "\n " + text.replace(" ", " ,\n") + "\n",
            arc.to_json(),
            json.loads(arc.to_json()),
        ]
        for form in forms:
            assert space.parse(form) == arc
        assert type(arc).from_json(arc.to_json()) == arc
        assert space.check(arc.tokens) == arc.tokens
        assert space.of(text, **options_of(space)) == (space, arc)
        assert space.of(arc.to_json(), **options_of(space)) == (space, arc)
        assert arc.space.parse(text) == arc
        assert hash(space.parse(text)) == hash(arc)


@every_space
def test_json_may_come_in_any_order(space):
    def reverse(value):
        if not isinstance(value, dict):
            return value
        return {key: reverse(inner) for key, inner in reversed(value.items())}

    arc = some_arcs(space)[0]
    assert space.parse(reverse(json.loads(arc.to_json()))) == arc


@every_space
def test_slots_are_as_many_as_tokens_and_have_names_of_their_own(space):
    assert len(space.slots) == len(some_arcs(space)[0].tokens)
    assert len({slot.name for slot in space.slots}) == len(space.slots)
    assert space.sizes == tuple(slot.size for slot in space.slots)
    for slot in space.slots:
        assert slot.words == () or len(slot.words) == slot.size


@every_space
def test_ops_and_inputs_are_what_the_slots_say(space):
    for arc in some_arcs(space):
        pairs = list(zip(arc.tokens, space.slots, strict=True))
        assert arc.ops == tuple(token for token, slot in pairs if slot.words == space.ops)
        indices = tuple(token for token, slot in pairs if slot.words == ())
        skips = [slot.name.partition("skip from ")[2] for token, slot in pairs if token]
        joined = tuple(space.entries.index(name) for name in skips if name)
        assert arc.inputs == (indices or joined)
    assert len(space.entries) == len(set(space.entries))


@every_space
def test_every_slot_takes_its_range_and_no_more(space):
    lowest, highest = [0] * len(space.slots), [slot.size - 1 for slot in space.slots]
    assert space.check(lowest) == tuple(lowest)
    assert space.check(highest) == tuple(highest)
    for place, slot in enumerate(space.slots):
        for wrong in (slot.size, -1):
            tokens = [*lowest[:place], wrong, *lowest[place + 1 :]]
            for source in (tokens, " ".join(map(str, tokens))):
                with pytest.raises(UserError) as error:
                    space.parse(source)
                assert str(error.value) == (
                    f"token {place + 1} ({slot.name}) must be {slot.allowed}, got {wrong}"
                )


@every_space
@pytest.mark.parametrize(
    "wrong", ["x", "1_0", "+0", "0.0", "9" * 5000, 0.0, True, None, [0], "a\nb"]
)
def test_what_is_no_integer_is_refused_in_one_line(space, wrong):
    tokens = [wrong, *[0] * (len(space.slots) - 1)]
    with pytest.raises(UserError, match=r"^token 1 \(.*\) must be .*, got ") as error:
        space.check(tokens)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@every_space
def test_a_wrong_number_of_tokens_is_refused(space):
    zeros = [0] * len(space.slots)
    with pytest.raises(UserError, match=rf"^token {len(zeros)} \(.*\) is missing: it must be "):
        space.parse(zeros[:-1])
    with pytest.raises(UserError, match=rf"^token {len(zeros) + 1} is not part of"):
        space.parse([*zeros, 0])


def test_integers_of_other_types_become_plain_ones():
    class Scalar:  # as numpy's integers and TensorFlow's scalars do
        def __index__(self):
            return 0

    tokens = RnnSpace(1).check([Scalar(), Scalar()])
    assert tokens == (0, 0)
    assert all(type(token) is int for token in tokens)


@every_space
def test_an_arc_of_another_space_is_refused(space):
    other = RnnSpace(2) if space.name == "micro" else MicroSpace(1)
    arc = other.random(random.Random(0))
    with pytest.raises(UserError) as error:
        space.parse(arc)
    assert str(error.value) == (
        f"expected an architecture of the {space.name} space, "
        f"got one of the {other.name} space: {arc}"
    )
    with pytest.raises(UserError) as error:
        space.of(arc.to_json())
    assert str(error.value) == f'"space" in the JSON must be "{space.name}", got {other.name}'


@every_space
@pytest.mark.parametrize("size", [0, -1, 1.5, "2"])
def test_a_size_below_the_smallest_is_refused(space, size):
    with pytest.raises(UserError) as error:
        type(space)(size)
    assert str(error.value) == (
        f"space.num_{space.unit}s must be an integer of at least {space.smallest}, got {size}"
    )


@pytest.mark.parametrize("space", [RnnSpace(2), MacroSpace(2)], ids=repr)
def test_random_is_uniform(space):
    rng = random.Random(0)
    expected = 400
    drawn = Counter(space.random(rng) for _ in range(expected * space.count()))
    assert len(drawn) == space.count()
    # A count deviates by 20 (one sigma); five sigma leave room for 72 of them.
    assert min(drawn.values()) > expected - 100
    assert max(drawn.values()) < expected + 100


def test_random_repeats_with_the_seed():
    space = MicroSpace(5)
    first, second = (
        [space.random(rng) for _ in range(3)] for rng in (random.Random(1), random.Random(1))
    )
    assert first == second
    assert len(set(first)) == 3


@pytest.mark.parametrize(
    "space", [RnnSpace(2), MacroSpace(2), MicroSpace(1), Nasbench201Space(3)], ids=repr
)
def test_count_is_the_number_of_texts_that_parse(space):
    texts = itertools.product(*(range(slot.size) for slot in space.slots))
    assert len({space.parse(tokens) for tokens in texts}) == space.count()


@every_space
def test_graphs_are_whole(space):
    for graph in (graph for arc in some_arcs(space) for graph in space.graphs(arc)):
        order = {node.key: place for place, node in enumerate(graph.nodes)}
        assert len(order) == len(graph.nodes)
        assert {node.role for node in graph.nodes} <= {"input", "op", "node", "output"}
        # Nodes come in an order in which they could be computed.
        assert all(order[edge.source] < order[edge.target] for edge in graph.edges)
        fed = {edge.target for edge in graph.edges}
        assert fed == {node.key for node in graph.nodes if node.role != "input"}
        used = {edge.source for edge in graph.edges}
        inputs = {node.key for node in graph.nodes if node.role == "input"}
        assert used == order.keys() - {"output"}, f"unused: {inputs - used}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"space" "rnn"}',
            "the architecture's JSON cannot be read: Expecting ':' delimiter: line 1 column 10 "
            "(char 9)",
        ),
        (
            '{"space": "rnn", "node 1": {"index": 0, "activation": "swish"}}',
            "token 2 (node 1, activation) must be an integer from 0 to 3 "
            f"({ACTIVATIONS}), got swish",
        ),
        (
            '{"space": "rnn", "node 1": {"index": 0, "op": "tanh"}}',
            "token 2 (node 1, activation) is missing: it must be an integer from 0 to 3 "
            f"({ACTIVATIONS})",
        ),
        (
            '{"space": "rnn", "node 1": {"index": 0, "activation": "tanh"}, "node 3": {"f": 0}}',
            "token 3 (node 2, index) is missing: it must be an integer from 0 to 1 "
            "(an earlier node); the number of tokens in the rnn space must be 2 (1 node) "
            "or 4 (2 nodes), got 3",
        ),
        ('{"node 1": {}}', '"space" in the JSON must be "rnn", got None'),
        (
            "0 tanh",
            "token 2 (node 1, activation) must be an integer from 0 to 3 "
            f"({ACTIVATIONS}), got tanh",
        ),
    ],
)
def test_json_errors(text, message):
    with pytest.raises(UserError) as error:
        RnnSpace.of(text)
    assert str(error.value) == message


def test_from_json_takes_objects_only():
    arc = RnnSpace(1).parse("0 0")
    with pytest.raises(UserError) as error:
        type(arc).from_json("[0, 0]")
    assert str(error.value) == "the architecture's JSON must be an object, got [0, 0]"
