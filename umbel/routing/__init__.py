"""Pure rules of where a message goes, and how long it is worth delivering."""
