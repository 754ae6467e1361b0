"""Channel search in the macro space: every layer runs all ops, each for some of its channels."""
