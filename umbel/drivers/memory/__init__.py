"""The embedded drivers without a file: everything in the memory of one process."""
