"""What the user decides: declarations, rules, and where the values come from."""
