"""The bootstrap over problems: draws of problems, and the ways from draws to an interval. Knows no figure."""
