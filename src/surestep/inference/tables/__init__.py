"""Files of solutions in, files of solutions with scores out: JSONL, CSV, Parquet; resumed after a kill."""
