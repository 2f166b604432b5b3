"""Backbone, head and attention: tensors in, logits out. Knows no text and no dataset."""
