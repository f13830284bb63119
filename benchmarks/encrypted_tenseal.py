"""TenSEAL's times, for the same run as ours: `TENSEAL_PYTHON encrypted_tenseal.py`, which prints one JSON line.

It runs in an environment of its own (`pip install tenseal==0.3.18 numpy`), and knows nothing of Unmask.
"""

import json
import time

import numpy as np
import tenseal

LEVELS = 6
SCALE = 45


def timed(work: object, times: int) -> float:
    """Return the least seconds of several runs."""
    seconds = []
    for _ in range(times):
        began = time.monotonic()
        work()  # type: ignore[operator]
        seconds.append(time.monotonic() - began)
    return min(seconds)


def main() -> None:
    """Measure a product of two ciphertexts and a 128x128 matrix times a vector."""
    bits = [60] + [SCALE] * LEVELS + [60]
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, 2**15, coeff_mod_bit_sizes=bits)
    context.global_scale = 2.0**SCALE
    context.generate_galois_keys()
    chance = np.random.default_rng(0)
    x = chance.uniform(-1, 1, 16384)
    a, b = tenseal.ckks_vector(context, x), tenseal.ckks_vector(context, x)
    found = {"product": timed(lambda: a * b, 5)}
    matrix, vector = chance.uniform(-1, 1, (128, 128)), chance.uniform(-1, 1, 128)
    c = tenseal.ckks_vector(context, vector)
    found["linear 128"] = timed(lambda: c.matmul(matrix.tolist()), 1)
    found["linear 128 error"] = float(np.abs(np.array(c.matmul(matrix.tolist()).decrypt()) - vector @ matrix).max())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
