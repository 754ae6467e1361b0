"""Lists of tensors that hand out an element without a copy, and add up with empty places.

`tf.TensorArray` is built of the same ops; these let a gradient be written by hand.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class ListOf:
    """Makes and reads lists whose elements have one shape and one dtype; a list is a tensor.

    Args:
        shape: of an element, -1 where any size will do.
        dtype: of an element.
    """

    shape: tuple[int, ...]
    dtype: tf.DType

    @classmethod
    def batches_like(cls, x: tf.Tensor) -> "ListOf":
        """Of batches of any size of what `x`, `(batch, ...)`, is a batch of."""
        return cls((-1, *x.shape[1:]), x.dtype)

    def empty(self, size: int | tf.Tensor) -> tf.Tensor:
        """A list of so many places without an element; lists are added as if these held zeros."""
        return tf.raw_ops.TensorListReserve(num_elements=size, **self._element)

    def take(self, elements: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
        """The element at a place."""
        return tf.raw_ops.TensorListGetItem(input_handle=elements, index=place, **self._element)

    def add(self, elements: tf.Tensor, place: tf.Tensor, element: tf.Tensor) -> tf.Tensor:
        """A list, every place of which is taken, with an element added to what is at a place."""
        return put(elements, place, self.take(elements, place) + element)

    def stack(self, elements: tf.Tensor) -> tf.Tensor:
        """All elements along axis 0, of a fully known shape; zeros where there is none."""
        return tf.raw_ops.TensorListStack(input_handle=elements, **self._element)

    @property
    def _element(self) -> dict:
        # TensorFlow takes no shape without axes for integers.
        return {"element_shape": np.int32(self.shape), "element_dtype": self.dtype}


def put(elements: tf.Tensor, place: int | tf.Tensor, element: tf.Tensor) -> tf.Tensor:
    """A list with an element at a place, instead of what was there."""
    return tf.raw_ops.TensorListSetItem(input_handle=elements, index=place, item=element)


def put_all(lists: list[tf.Tensor], place: tf.Tensor, elements: list[tf.Tensor]) -> list[tf.Tensor]:
    """Each list with its element at the same place."""
    return [put(one, place, element) for one, element in zip(lists, elements, strict=True)]


def stack_all(kinds: list[ListOf], lists: list[tf.Tensor]) -> list[tf.Tensor]:
    """What is in each of the lists, which are of these kinds, along axis 0."""
    return [of.stack(one) for of, one in zip(kinds, lists, strict=True)]
