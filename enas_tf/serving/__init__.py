"""Serving: starts TensorFlow Serving on an export, and asks a running server."""
