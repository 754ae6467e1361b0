"""Layers that hold weights, and the ops that use them."""
