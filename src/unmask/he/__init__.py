"""Encrypted inference on CKKS: backends, keys, client and server."""
