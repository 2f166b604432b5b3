"""The attention mask of packed trees, its executions and their proof."""
