"""Real Meltano, real PostgreSQL and a real tap, all from PyPI, into the emulator."""
