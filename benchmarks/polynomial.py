"""Measure the polynomial topic: `python -m benchmarks.polynomial [PART ...]`, all parts by default."""

import sys

from benchmarks import (
    polynomial_conversion,
    polynomial_converted,
    polynomial_fits,
    polynomial_models,
    polynomial_simulator,
)
from benchmarks.parts import run

PARTS = {
    "fits": polynomial_fits.rows,
    "iterations": polynomial_fits.iteration_rows,
    "budget": polynomial_simulator.budget_rows,
    "simulator": polynomial_simulator.rows,
    "encrypted": polynomial_simulator.encrypted_rows,
    "models": polynomial_models.rows,
    "conversion": polynomial_conversion.rows,
    "converted": polynomial_converted.rows,
}


if __name__ == "__main__":
    sys.exit(run("polynomial", PARTS, sys.argv[1:]))
