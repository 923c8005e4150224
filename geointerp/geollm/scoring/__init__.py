"""How true ratings are, where, how sure, and whom they favour."""
