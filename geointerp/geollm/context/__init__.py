"""What a map says of a point: its address, and the named places around it."""
