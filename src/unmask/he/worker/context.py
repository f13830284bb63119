"""OpenFHE's context: the one place that says which scheme, and that 128 bits of security are enforced."""

from typing import Any

import openfhe

CORRECTION = 5
"""Bits that a bootstrap scales its input down by against the first modulus, before that modulus is taken off by a sine.

A sine is no straight line: coefficients of size c relative to the first modulus come back with a relative error of
(2 pi c)^2 / 6, four times less for each bit; what the steps in between add grows twice for each. The library's own
choice is 9. At N = 2^12, scale 2^57: deviations 2.2e-6 with 9 bits, 3.9e-7 with 6,
1.2e-6 with 5 for values that fill [-1, 1]; 2.2e-6, 2.7e-7 and 1.3e-7 for values that fill a tenth of it.
"""

FEATURES = (openfhe.PKE, openfhe.KEYSWITCH, openfhe.LEVELEDSHE, openfhe.ADVANCEDSHE)


def make(given: dict[str, Any], bootstrap: str = "none") -> Any:
    """Return a context; the library refuses parameters below 128 bits of security.

    Args:
        given: ring, levels, scale, first, parts, budget, as `Parameters` has them.
        bootstrap: what of it is prepared where parameters have one: `none`; `keys`, what making its keys needs;
            or `all`, with the encoded transforms, which take gigabytes.
    """
    wanted = openfhe.CCParamsCKKSRNS()
    wanted.SetSecurityLevel(openfhe.HEStd_128_classic)
    # A bootstrap needs few wrap-arounds, hence a sparse secret for a moment, into which a key leads and out of
    # which another does; the ciphertexts' own secret stays uniform ternary.
    sparse = given["budget"] is not None
    wanted.SetSecretKeyDist(openfhe.SPARSE_ENCAPSULATED if sparse else openfhe.UNIFORM_TERNARY)
    wanted.SetScalingTechnique(openfhe.FIXEDMANUAL)
    wanted.SetKeySwitchTechnique(openfhe.HYBRID)
    wanted.SetRingDim(1 << given["ring"])
    # A bootstrap scales its input down before it raises it: one prime more, so that level 0 can be refreshed.
    wanted.SetMultiplicativeDepth(given["levels"] + int(sparse))
    wanted.SetScalingModSize(given["scale"])
    wanted.SetFirstModSize(given["first"])
    wanted.SetNumLargeDigits(given["parts"])
    wanted.SetBatchSize(1 << (given["ring"] - 1))
    context = openfhe.GenCryptoContext(wanted)
    for feature in FEATURES + ((openfhe.FHE,) if sparse else ()):
        context.Enable(feature)
    if sparse and bootstrap != "none":
        slots = 1 << (given["ring"] - 1)
        # The library refuses fewer bits than lie between the first modulus and the scale.
        bits = max(CORRECTION, given["first"] - given["scale"])
        context.EvalBootstrapSetup(list(given["budget"]), [0, 0], slots, bits, bootstrap == "all")
    return context
