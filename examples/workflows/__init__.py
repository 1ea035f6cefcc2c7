"""Three workflows: a log pipeline, a crawler, and counting words by map and reduce."""
