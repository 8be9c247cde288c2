"""Where objects are kept, in memory or in DuckDB, and in which order updates reach them."""
