"""Real Meltano, PostgreSQL and tap, all from PyPI, with the emulator as the destination."""
