"""Lists of tensors that hand out an element without a copy, and add up with empty places.

`tf.TensorArray` is built of the same ops; these let a gradient be written by hand.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from enas_tf.layers.form import Form, current_form


@dataclass(frozen=True)
class ListOf:
    """Makes and reads lists whose elements have one shape and one dtype; a list is a tensor.

    Args:
        shape: of an element, -1 where any size will do; -1 alone where any shape will.
        dtype: of an element.
    """

    shape: tuple[int, ...] | int
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
        """A list with an element added to what is at a place, or put there if nothing is."""
        if current_form() is Form.XLA:
            # There lists are arrays, of zeros at first.
            return put(elements, place, self.take(elements, place) + element)
        size = tf.raw_ops.TensorListLength(input_handle=elements)
        # Empty places cost nothing to add.
        return tf.raw_ops.AddN(inputs=[elements, put(self.empty(size), place, element)])

    def gather(self, elements: tf.Tensor, places: tf.Tensor | None) -> tf.Tensor:
        """The elements at some places, or at all, stacked along axis 0."""
        if places is None:
            return self.stack(elements)
        return tf.raw_ops.TensorListGather(input_handle=elements, indices=places, **self._element)

    def spread(self, elements: tf.Tensor, places: tf.Tensor | None, size: int) -> tf.Tensor:
        """A list of so many places with elements, stacked along axis 0, at some of them or all."""
        shape = self._element["element_shape"]
        if places is None:
            return tf.raw_ops.TensorListFromTensor(tensor=elements, element_shape=shape)
        return tf.raw_ops.TensorListScatterV2(
            tensor=elements, indices=places, element_shape=shape, num_elements=size
        )

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
