"""What programs add to a worker: steps, strategies, consumers of messages that are no tasks."""
