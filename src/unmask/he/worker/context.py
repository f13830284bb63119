"""OpenFHE's context: the one place that says which scheme, and that 128 bits of security are enforced."""

from typing import Any

import openfhe

FEATURES = (openfhe.PKE, openfhe.KEYSWITCH, openfhe.LEVELEDSHE, openfhe.ADVANCEDSHE)


def make(given: dict[str, Any]) -> Any:
    """Return a context; the library refuses parameters below 128 bits of security.

    Args:
        given: ring, levels, scale, first, parts, budget, as `Parameters` has them.
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
    if sparse:
        context.EvalBootstrapSetup(list(given["budget"]), [0, 0], 1 << (given["ring"] - 1))
    return context
