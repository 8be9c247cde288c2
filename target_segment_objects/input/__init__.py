"""Bytes from standard input become lines, and lines become messages."""

from __future__ import annotations

from target_segment_objects.input.reader import Message, MessageReader, ReaderOptions, WakeUp

__all__ = [
    "Message",
    "MessageReader",
    "ReaderOptions",
    "WakeUp",
]
