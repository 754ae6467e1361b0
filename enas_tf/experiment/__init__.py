"""Settings, recipes, and a run from data to export."""
