"""The forms of the shared-weight networks: what their graphs are made for.

What is cheap differs by what runs a graph. TensorFlow starts a CPU's kernels cheaply and pays for
every byte: lists hand out the chosen tensors without a copy, and sums run over what is used. On a
GPU it waits for the host at each of these. XLA compiles one program for all architectures, so that
no size may depend on one: masks choose, and sums of shifted images take the place of convolutions
for which it has no fast kernels. `tf.switch_case` chooses the op in all forms.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum


class Form(Enum):
    """What a graph is made for."""

    CPU = "TensorFlow's kernels on a CPU"
    GPU = "TensorFlow's kernels on a GPU"
    XLA = "XLA, on any device"


_form = ContextVar("form", default=Form.CPU)


def current_form() -> Form:
    """Tells what the graph that is traced now is made for."""
    return _form.get()


@contextmanager
def traced_for(form: Form) -> Iterator[None]:
    """Has everything that is traced within it be of one form."""
    token = _form.set(form)
    try:
        yield
    finally:
        _form.reset(token)
