"""The server: computes on what it cannot read."""
