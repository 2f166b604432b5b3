"""What HTTP adds: strict JSON, errors of one shape, a line in the log, metrics. Knows no model."""
