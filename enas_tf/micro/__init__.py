"""The micro space: normal and reduction cells, which are stacked to form image classifiers."""
