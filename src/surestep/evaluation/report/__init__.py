"""The page and the card of an evaluation."""
