"""What runs under the interpreter that can import OpenFHE: Python 3.10 or later, NumPy, and nothing of Unmask.

It is started as the top-level package `worker`, hence the relative imports.
"""
