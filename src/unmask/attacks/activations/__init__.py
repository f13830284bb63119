"""Read texts from what layers compute."""
