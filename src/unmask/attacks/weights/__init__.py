"""Read training images from trained weights."""
