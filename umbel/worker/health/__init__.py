"""How a worker is, and how the outside learns of it."""
