"""One module per system: the same two tasks, the same Redis, results stored."""
