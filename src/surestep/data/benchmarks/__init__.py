"""Files of benchmarks that are no training data."""
