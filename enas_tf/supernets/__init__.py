"""Shared-weight networks: every architecture of a space is a path through one of them."""
