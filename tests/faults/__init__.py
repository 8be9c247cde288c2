"""Faults of every kind, and what must hold after each of them (docs/testing.md)."""
