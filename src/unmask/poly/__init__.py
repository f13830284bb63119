"""Transformers that are polynomials: approximation, layers, conversion, and the simulator in clear."""
