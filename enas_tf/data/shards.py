"""The parts of a batch that the replicas share."""

from enas_tf.core.errors import UserError


def equal_slice(batch_size: int, shard: tuple[int, int]) -> slice:
    """Returns the slice of a batch that is a shard's part; all parts are equal.

    Args:
        batch_size: examples in the batch.
        shard: `(index, count)`: the `index`-th of `count` parts.

    Raises:
        UserError: the batch size is not a multiple of the number of parts.
    """
    index, count = shard
    if batch_size % count:
        raise UserError(
            f"batch size must be a multiple of {count}, the number of replicas that share each "
            f"batch, got {batch_size}"
        )
    size = batch_size // count
    return slice(index * size, (index + 1) * size)
