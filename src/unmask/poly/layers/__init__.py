"""Layers in torch that train, run in clear as polynomials, and fold into a plain network."""
