"""Starts TensorFlow Serving on an export, and sends requests to a running server."""
