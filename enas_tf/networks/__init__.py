"""Networks of one architecture alone, for training from scratch."""
