"""ProcessBench, PRMBench and best-of-N, each from files to a result file."""
