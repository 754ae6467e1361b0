"""Lists of tensors that return elements without a copy, and can be added with empty places.

`tf.TensorArray` is built from the same raw ops. They are used directly here, since this allows
hand-written gradients.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from enas_tf.layers.form import Form, current_form


@dataclass(frozen=True)
class ListOf:
    """Makes and reads lists whose elements share a shape and a dtype; a list is itself a tensor.

    Args:
        shape: shape of an element, with -1 for an axis of any size; -1 alone allows any shape.
        dtype: dtype of an element.
    """

    shape: tuple[int, ...] | int
    dtype: tf.DType

    @classmethod
    def batches_like(cls, x: tf.Tensor) -> "ListOf":
        """Returns the kind of lists whose elements are like `x`, `(batch, ...)`, of any batch."""
        return cls((-1, *x.shape[1:]), x.dtype)

    def empty(self, size: int | tf.Tensor) -> tf.Tensor:
        """Returns a list of `size` empty places, which count as zeros when lists are added."""
        return tf.raw_ops.TensorListReserve(num_elements=size, **self._element)

    def take(self, elements: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
        """Returns the element at a place."""
        return tf.raw_ops.TensorListGetItem(input_handle=elements, index=place, **self._element)

    def add(self, elements: tf.Tensor, place: tf.Tensor, element: tf.Tensor) -> tf.Tensor:
        """Returns a list with an element added to that at a place, or put there if it is empty."""
        if current_form() is Form.XLA:
            # In XLA, lists are arrays that are zero at first.
            return put(elements, place, self.take(elements, place) + element)
        size = tf.raw_ops.TensorListLength(input_handle=elements)
        # Adding a list with one element costs nothing at the empty places.
        return tf.raw_ops.AddN(inputs=[elements, put(self.empty(size), place, element)])

    def gather(self, elements: tf.Tensor, places: tf.Tensor | None) -> tf.Tensor:
        """Returns the elements at some places, or at all if None, stacked along axis 0."""
        if places is None:
            return self.stack(elements)
        return tf.raw_ops.TensorListGather(input_handle=elements, indices=places, **self._element)

    def spread(self, elements: tf.Tensor, places: tf.Tensor | None, size: int) -> tf.Tensor:
        """Returns a list of `size` places with elements at some of them, or at all if None.

        Args:
            elements: the elements, stacked along axis 0.
            places: int32, `(n,)`: the place of each element; None for all places in order.
            size: number of places in the list.
        """
        shape = self._element["element_shape"]
        if places is None:
            return tf.raw_ops.TensorListFromTensor(tensor=elements, element_shape=shape)
        return tf.raw_ops.TensorListScatterV2(
            tensor=elements, indices=places, element_shape=shape, num_elements=size
        )

    def stack(self, elements: tf.Tensor) -> tf.Tensor:
        """Returns all elements, of a fully known shape, along axis 0; empty places give zeros."""
        return tf.raw_ops.TensorListStack(input_handle=elements, **self._element)

    @property
    def _element(self) -> dict:
        # An array of int32, since TensorFlow does not take an empty tuple for integers.
        return {"element_shape": np.int32(self.shape), "element_dtype": self.dtype}


def put(elements: tf.Tensor, place: int | tf.Tensor, element: tf.Tensor) -> tf.Tensor:
    """Returns a list with the element at a place replaced."""
    return tf.raw_ops.TensorListSetItem(input_handle=elements, index=place, item=element)


def put_all(lists: list[tf.Tensor], place: tf.Tensor, elements: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns lists with the element at a place replaced in each of them."""
    return [put(one, place, element) for one, element in zip(lists, elements, strict=True)]


def stack_all(kinds: list[ListOf], lists: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns the elements of each list stacked along axis 0; `kinds` are those of the lists."""
    return [of.stack(one) for of, one in zip(kinds, lists, strict=True)]
