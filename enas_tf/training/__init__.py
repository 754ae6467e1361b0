"""Training of a network's weights, and everything else that a long run needs."""
