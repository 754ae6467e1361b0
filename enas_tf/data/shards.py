"""The part of a batch that belongs to each of the replicas that share it."""

from enas_tf.core.errors import UserError


def equal_slice(batch_size: int, shard: tuple[int, int]) -> slice:
    """Says where in a batch a shard's part is, all parts being equal.

    Args:
        batch_size: examples in the batch.
        shard: `(index, count)`: the `index`-th of `count` parts.

    Raises:
        UserError: the batch cannot be divided so.
    """
    index, count = shard
    if batch_size % count:
        raise UserError(
            f"batch size must be a multiple of {count}, the number of replicas that share each "
            f"batch, got {batch_size}"
        )
    size = batch_size // count
    return slice(index * size, (index + 1) * size)
