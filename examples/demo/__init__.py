"""Real work over real files, on the embedded default: ``make demo``."""
