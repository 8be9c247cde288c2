"""Bytes from standard input become lines, and lines become messages."""
