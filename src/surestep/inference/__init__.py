"""Using a checkpoint: score solutions, rank candidates, follow a solution step by step."""
