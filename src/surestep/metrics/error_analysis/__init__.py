"""Where a scorer fails: by what a step is, where it stands, and how its raters judged it."""
