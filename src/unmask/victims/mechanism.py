"""What a training client computes with a `torch.nn.Module`: its loss, as a function of its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from unmask.victim import Secret
from unmask.victims.capture import mode
from unmask.victims.torch_model import Forward, TorchModel


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchMechanism:
    """Implements `unmask.victim.Mechanism` for a `TorchModel`; the module itself is never changed.

    Args:
        model: the public model whose training is meant.
    """

    model: TorchModel

    def parameters(self) -> Mapping[str, Tensor]:
        """Return the module's parameters by name, a tied one once."""
        return {name: parameter.detach() for name, parameter in self.model.module.named_parameters()}

    def loss(
        self, parameters: Mapping[str, Tensor], secret: Secret, *, dropout: bool, generator: torch.Generator
    ) -> Tensor:
        """Return the batch loss: mean cross-entropy over sequences, or over all predicted tokens.

        Args:
            parameters: every tensor that `parameters()` names.
            secret: the batch; its labels must be there for a classifier.
            dropout: compute with dropout on.
            generator: randomness of the dropout masks.
        """
        call = _Call(self.model.module, self.model.forward)
        named = {f"module.{name}": tensor for name, tensor in parameters.items()}
        # Without filling there is nothing to mask, and the numbers are those of an unmasked call.
        mask = None if bool(secret.mask.all()) else secret.mask
        with torch.random.fork_rng(enabled=dropout), mode(self.model.module, training=dropout), torch.enable_grad():
            if dropout:
                # Dropout layers draw from the global stream only; it is put back after the call.
                torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            logits: Tensor = functional_call(call, named, (secret.ids, mask))
        if self.model.classes is not None:
            assert secret.labels is not None  # checked where the secret was made
            return F.cross_entropy(logits, secret.labels)
        per_token = F.cross_entropy(logits[:, :-1].transpose(1, 2), secret.ids[:, 1:], reduction="none")
        return per_token[secret.mask[:, 1:]].mean()


class _Call(nn.Module):
    """A module whose forward pass is the given function of another module."""

    def __init__(self, module: nn.Module, call: Forward) -> None:
        super().__init__()
        self.module = module
        self.call = call

    def forward(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        return self.call(self.module, ids, mask, None)
