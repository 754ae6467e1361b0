"""The micro space: normal and reduction cells, of which image classifiers are stacked."""
