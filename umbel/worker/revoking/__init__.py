"""Tasks that are not to run, or not to go on."""
