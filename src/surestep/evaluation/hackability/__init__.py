"""How far a scorer can be flattered: published perturbations, the highest rise, and best-of-N under attack."""
