"""The embedded drivers: broker and results in one SQLite file, shared by processes."""
