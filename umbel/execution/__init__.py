"""Running one request: from bytes to an outcome."""
