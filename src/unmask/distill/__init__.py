"""Gradients and kernels of wide networks."""
