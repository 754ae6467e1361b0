"""Data sets of images and of text, and the batches made from them."""
