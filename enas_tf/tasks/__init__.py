"""Tasks: batches, losses, rewards and metrics of a kind of data."""
