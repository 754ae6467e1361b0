"""Tasks: batches, losses, rewards and metrics for a kind of data."""
