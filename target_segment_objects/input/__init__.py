"""Bytes from standard input become lines, and lines become messages."""

from __future__ import annotations

from target_segment_objects.input.messages import Message
from target_segment_objects.input.reader import MessageReader, ReaderOptions

__all__ = [
    "Message",
    "MessageReader",
    "ReaderOptions",
]
