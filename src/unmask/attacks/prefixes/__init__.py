"""Read causal models prefix by prefix."""
