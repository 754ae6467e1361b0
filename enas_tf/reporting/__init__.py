"""The report of a run, its plots, and drawings of architectures."""
