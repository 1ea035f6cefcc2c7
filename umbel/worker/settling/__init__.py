"""What comes of it: published, stored, counted, acknowledged."""
