"""The commands: `python -m launchers.NAME [VERB] [flags]`."""
