"""The two forms that the shared-weight networks have, and which of them a step is traced in.

A CPU starts kernels cheaply and pays for every byte: in the *dynamic* form, tensors lie in lists
that hand out the chosen ones without a copy, sums run over what is used, and what a gradient needs
is computed again where that saves memory. A GPU has bandwidth to spare and waits for the host at
each kernel, and XLA needs sizes that depend on no architecture: in the *static* form, masks choose
among tensors, and nothing is computed twice. `tf.switch_case` chooses the op in both.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_static = ContextVar("static", default=False)


def is_static() -> bool:
    """Tells whether what is traced now is for a GPU or for XLA."""
    return _static.get()


@contextmanager
def form(static: bool) -> Iterator[None]:
    """Has everything that is traced within it be of one form."""
    token = _static.set(static)
    try:
        yield
    finally:
        _static.reset(token)
