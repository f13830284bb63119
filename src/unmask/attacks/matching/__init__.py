"""Continuous matching: the published methods, and soft spans for noise and rounding."""
