"""Files as records with their place; labels checked; what reading dropped or merged."""
