"""The plan, compiled: blocks of lines become objects."""
