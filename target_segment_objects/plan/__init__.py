"""A SCHEMA becomes a plan, and a record an object."""
