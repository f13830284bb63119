"""Accounting, bounds, audits and mechanisms of differential privacy, in NumPy and SciPy float64 only."""
