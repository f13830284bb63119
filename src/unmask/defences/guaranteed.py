"""From what a mechanism claims to what a defence guarantees."""

from unmask.defence import Guarantee
from unmask.privacy.claim import Claim


def guaranteed(claim: Claim, *, status: str | None = None, void: bool = False) -> Guarantee:
    """Return a mechanism's claim as the guarantee of a defence.

    Args:
        claim: what the mechanism claims.
        status: another status than the claim's, such as `tested` where a self-test passed.
        void: whether the noise was, or will be, seeded.
    """
    return Guarantee(
        epsilon=claim.epsilon,
        delta=claim.delta,
        unit=claim.unit,
        neighbours=claim.neighbours,
        accountant=claim.accountant,
        scope=claim.scope,
        status=status or claim.status,
        arithmetic=claim.arithmetic,
        void=claim.void or void,
    )
