"""The macro space: whole image classifiers, defined layer by layer, with skip connections."""
