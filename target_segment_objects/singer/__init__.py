"""The side towards the Singer SDK: the target, its sinks, stream maps and metrics."""
