"""What a run would make of an input, without sending anything."""
