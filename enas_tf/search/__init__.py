"""The search for an architecture, and the steps after it: derivation and comparison."""
