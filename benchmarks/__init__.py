"""Measurements; each is a program, and `python -m benchmarks` runs all of them."""

from __future__ import annotations
