"""Trees to tokens: one formatter, one layout, packing to a token budget. Knows no dataset and no model."""
