"""The forms of the shared-weight networks: what their graphs are built for.

What is cheap depends on what runs the graph. On a CPU, TensorFlow starts kernels cheaply but every
byte counts: lists return the chosen tensors without a copy, and sums run only over what is used. On
a GPU, each of these would wait for the host. XLA compiles one program for all architectures, so no
size may depend on the architecture: masks choose, and sums of shifted images replace convolutions
for which XLA has no fast kernels. In all forms, `tf.switch_case` chooses the op.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum


class Form(Enum):
    """The device or the compiler that a graph is built for."""

    CPU = "TensorFlow's kernels on a CPU"
    GPU = "TensorFlow's kernels on a GPU"
    XLA = "XLA, on any device"


_form = ContextVar("form", default=Form.CPU)


def current_form() -> Form:
    """Returns the form of the graph that is being traced."""
    return _form.get()


@contextmanager
def traced_for(form: Form) -> Iterator[None]:
    """Sets the form of everything that is traced within the context."""
    token = _form.set(form)
    try:
        yield
    finally:
        _form.reset(token)
