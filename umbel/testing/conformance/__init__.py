"""What every driver must pass: a class of tests for each contract."""
