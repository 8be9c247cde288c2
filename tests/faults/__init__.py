"""Faults of every kind, and what must hold in each of them (docs/testing.md)."""
