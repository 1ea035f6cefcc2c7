"""For users' tests and for authors of drivers."""
