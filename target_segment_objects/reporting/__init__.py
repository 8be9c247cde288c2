"""What a run has done: counts, warnings, the summary, the report file, the terminal."""
