"""Forward and backward passes: recorded once and replayed."""
