"""Maps from a raw confidence to a calibrated one, a file each."""
