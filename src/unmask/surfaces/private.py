"""What the surfaces behind a private mechanism share: one text, and noise that an audit can draw again."""

import torch

from unmask.errors import BadInput
from unmask.privacy.sampling import Randomness
from unmask.victim import Secret, Victim


def one_text(victim: Victim) -> Secret:
    """Return the victim's secret if it is one text.

    Args:
        victim: whose text is read.

    Raises:
        BadInput: if there is none or more than one.
    """
    if victim.secret is None:
        raise BadInput("victim", victim.model.name, "has no secret", "give it texts")
    if victim.secret.size > 1:
        rule = "texts in one forward pass are not told apart on the attention surface"
        raise BadInput("--batch", victim.secret.size, rule, "give 1")
    return victim.secret


def seeded(generator: torch.Generator) -> Randomness:
    """Return a source of noise that follows from a generator: void, as everything is that can be drawn again.

    Args:
        generator: of the audit.
    """
    return Randomness(seed=int(torch.randint(2**62, (1,), generator=generator)))
