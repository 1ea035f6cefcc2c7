"""Settings: where they come from, what they may be, what they come to."""
