"""The macro space: whole image classifiers, layer by layer, with skip connections."""
