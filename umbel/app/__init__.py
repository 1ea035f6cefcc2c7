"""The client: configuration, tasks, publishing, waiting."""
