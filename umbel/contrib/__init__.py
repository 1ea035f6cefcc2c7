"""What stands beside the task queue: kits for tests, debugging, documentation, Django."""
