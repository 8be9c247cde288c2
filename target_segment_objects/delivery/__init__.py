"""Objects go to Segment, in order, and what is durable is known."""
