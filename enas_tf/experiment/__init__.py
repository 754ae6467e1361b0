"""A run from data to export, and its settings."""
