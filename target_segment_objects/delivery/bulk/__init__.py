"""Delivery by one bulk session: parts, their compression, the session."""
