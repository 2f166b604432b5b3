"""A checkpoint for others: its card, its licences, and the way to the Hugging Face hub."""
