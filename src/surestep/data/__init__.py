"""Files become reasoning trees: readers, merging, splits, overlaps and downloads.

Knows files and trees; knows no tokenizer, no tensor and no model.
"""
