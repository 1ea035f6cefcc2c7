"""All I/O to the outside: one folder for each technology, one module for each role."""
