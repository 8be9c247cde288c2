"""Tests of the repository itself: docs, examples, workflows, laws."""
