"""Training of a network's weights, and all that a long run needs beside it."""
