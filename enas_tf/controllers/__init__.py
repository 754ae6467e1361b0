"""Controllers: the LSTMs that draw architectures."""
