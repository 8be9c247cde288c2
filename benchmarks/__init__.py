"""Measurements, each a program of its own: `python -m benchmarks` runs them all."""

from __future__ import annotations
