"""Conversion of a transformer into a polynomial one, in named stages that can be resumed."""
