"""The search for an architecture, and what follows from one: derivation and comparison."""
