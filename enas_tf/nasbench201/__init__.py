"""NAS-Bench-201's cells for images, each of whose accuracy is known."""
