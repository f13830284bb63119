"""Kernels of wide networks, and data sets distilled through them."""
