import numpy as np
import pytest
import tensorflow as tf

from enas_tf.layers.choice import run_op, take_rows
from enas_tf.layers.form import Form, traced_for
from enas_tf.layers.op_bank import OpBank
from enas_tf.macro.space import MacroSpace
from enas_tf.micro.space import MicroSpace


def test_rows_and_their_gradient_are_those_of_gather():
    bank = tf.Variable(np.arange(12, dtype=np.float32).reshape(4, 3))
    places = tf.constant([[2], [0]])
    with tf.GradientTape() as tape:
        taken = take_rows(tf.convert_to_tensor(bank), places)
        loss = tf.reduce_sum(taken * [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    np.testing.assert_array_equal(taken, [[6, 7, 8], [0, 1, 2]])
    wanted = [[4, 5, 6], [0, 0, 0], [1, 2, 3], [0, 0, 0]]
    np.testing.assert_array_equal(tape.gradient(loss, bank), wanted)


def test_rows_may_be_numbered_along_two_axes():
    bank = tf.Variable(np.arange(12, dtype=np.float32).reshape(2, 3, 2))
    with tf.GradientTape() as tape:
        (taken,) = take_rows(tf.convert_to_tensor(bank), tf.constant([[1, 2]]))
        loss = tf.reduce_sum(taken * [1.0, 2.0])
    np.testing.assert_array_equal(taken, [10, 11])
    wanted = np.zeros((2, 3, 2))
    wanted[1, 2] = 1, 2
    np.testing.assert_array_equal(tape.gradient(loss, bank), wanted)


# For every op of every image space.
OPS = [(space, op) for space in (MicroSpace(1), MacroSpace(1, op_set=7)) for op in space.rows]


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(("space", "op"), OPS, ids=lambda one: getattr(one, "name", None))
def test_an_ops_own_gradients_are_those_of_what_it_computes(space, op, form):
    bank = OpBank(op, 1, channels=8, moving=False)
    bank.build()
    x = tf.random.stateless_normal((2, 6, 5, 8), (0, 1))
    weights = [tensor[0] for tensor in bank.read()]
    grad = tf.random.stateless_normal(x.shape, (2, 3))

    def gradients(run):
        with traced_for(form), tf.GradientTape() as tape:
            tape.watch([x, *weights])
            output = run()
        with traced_for(form):
            return output, *tape.gradient(output, [x, *weights], grad)

    ops = space.rows
    number = ops.index(op)
    chosen = [weights if n == number else () for n in range(len(ops))]
    actual = gradients(lambda: run_op(ops, tf.constant(number), x, chosen)[0])
    with traced_for(Form.CPU):
        wanted = gradients(lambda: op.run(x, *weights)[0])
    for one, other in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_statistics_of_an_op_with_fewer_norms_are_filled_up_with_zeros():
    space = MicroSpace(1)
    x = tf.random.stateless_normal((2, 6, 5, 8), (0, 1))
    bank = OpBank(space.rows[0], 1, channels=8, moving=False)
    bank.build()
    weights = [[tensor[0] for tensor in bank.read()], *[()] * 4]
    for number in (0, 3):
        _, (means, variances) = run_op(space.rows, tf.constant(number), x, weights)
        assert means.shape == variances.shape == (2, 8)
        assert np.all(variances > 0) == (number == 0)
