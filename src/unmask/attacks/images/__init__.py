"""Read images from what layers compute."""
