"""Task arguments and results as bytes: serializers and compression, by name."""
