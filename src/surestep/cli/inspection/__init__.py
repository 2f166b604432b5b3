"""What `surestep data inspect` shows."""
