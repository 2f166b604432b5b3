"""Ids of plain text by the words that a tokenizer splits it into."""
