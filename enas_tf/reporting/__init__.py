"""What is shown of a run: the report, its plots, drawings of architectures."""
