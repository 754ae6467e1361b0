"""Domains: what a run needs to know of a kind of data, images or text."""
