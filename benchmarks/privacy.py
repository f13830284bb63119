"""Measure the privacy room: `python -m benchmarks.privacy [PART ...]`, all parts by default."""

import sys

from benchmarks import (
    privacy_accounting,
    privacy_audit,
    privacy_decoding,
    privacy_frozen,
    privacy_gradient,
    privacy_releases,
    privacy_selftest,
    privacy_shared,
    privacy_smollm,
    privacy_training,
    privacy_words,
)
from benchmarks.parts import run

PARTS = {
    "wishart": privacy_accounting.wishart_rows,
    "radius": privacy_accounting.radius_rows,
    "dp-sgd": privacy_accounting.dp_sgd_rows,
    "read": privacy_releases.read_rows,
    "matrix": privacy_releases.matrix_rows,
    "decoding": privacy_decoding.rows,
    "audit": privacy_audit.rows,
    "selftest": privacy_selftest.rows,
    "smollm": privacy_smollm.rows,
    "training": privacy_training.rows,
    "gradient": privacy_gradient.rows,
    "shared": privacy_shared.rows,
    "words": privacy_words.rows,
    "frozen": privacy_frozen.rows,
}


if __name__ == "__main__":
    sys.exit(run("privacy", PARTS, sys.argv[1:]))
