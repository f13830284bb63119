"""Epsilon in plain words: what an attacker may achieve, as sentences with numbers."""

from unmask.privacy.claim import Claim
from unmask.privacy.tradeoff import advantage, approximate, posterior, success

HOPELESS = 0.99
"""An advantage at which the promise is next to nothing."""


def in_words(claim: Claim, *, prior: float = 0.01) -> tuple[str, ...]:
    """Return what a claim promises, one sentence each, against every attacker with any side knowledge.

    Args:
        claim: epsilon, delta, unit and neighbours.
        prior: the chance of the attacker's best blind guess, for the second and third sentence.

    Raises:
        BadInput: if the prior, epsilon or delta is out of range.

    Example:
        >>> one = dict(unit="one record", neighbours="replace one record", accountant="analytic Gaussian")
        >>> in_words(Claim(epsilon=1.0, delta=1e-5, **one))[0]
        'Told that it is one of two inputs that differ in one record (replace one record), and which two, an \
attacker names the right one at most 73.1% of the time; a coin does 50%.'
    """
    if claim.void:
        return ("The noise was seeded: whoever knows the seed removes it, so nothing is promised.",)
    epsilon, delta = claim.epsilon, claim.delta
    edge = advantage(epsilon, delta)
    found = success(prior, approximate(epsilon, delta))
    sentences = [
        f"Told that it is one of two inputs that differ in {claim.unit} ({claim.neighbours}), and which two, an "
        f"attacker names the right one at most {_percent((1 + edge) / 2)} of the time; a coin does 50%.",
        f"Of a secret whose possible values are all neighbours of one another in this sense, a guess that is right "
        f"with a chance of {_percent(prior)} without the release is right with at most {_percent(found)} with it.",
        f"A suspicion held at {_percent(prior)} can grow to at most {_percent(posterior(prior, epsilon))}, except in "
        f"cases whose probability is about delta, {delta:g}.",
        f"What {claim.unit} does not decide is not protected: what others' data say about the same person "
        "can be learnt in full.",
    ]
    if claim.scope:
        sentences.append(f"All this holds for {claim.scope}; every further release adds to epsilon.")
    if edge > HOPELESS:
        sentences.append(f"At epsilon {epsilon:g} this promises next to nothing.")
    if claim.arithmetic == "real":
        sentences.append("The proof is about real numbers; publish few digits, or release on a grid.")
    return tuple(sentences)


def _percent(value: float) -> str:
    percent = 100 * value
    return f"{percent:.3g}%" if percent < 99.95 else f"{min(percent, 100):.4f}".rstrip("0").rstrip(".") + "%"
