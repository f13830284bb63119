"""DP-SGD steps and draws that are broken in the ways that are met in practice."""

from functools import partial

import torch
from torch import nn

from unmask.defences.training.losses import chosen, losses
from unmask.defences.training.measures import BATCH, Maker
from unmask.defences.training.step import PrivateStep
from unmask.privacy.sampling import Randomness
from unmask.victims.torch_model import TorchModel


def breaking(
    model: TorchModel,
    kind: type[PrivateStep] = PrivateStep,
    *,
    noise: float = 1.0,
    clip: float = 1.0,
    rate: float = 1.0,
    train: str = "all",
) -> Maker:
    """Return what makes steps of another kind, or with noise and clipping off by factors."""

    def make(module: nn.Module, sigma: float, norm: float, source: Randomness) -> PrivateStep:
        trained = chosen(model, module, train)
        descent = torch.optim.SGD(list(trained.values()), lr=rate)
        return kind(
            module,
            partial(losses, model),
            trained,
            descent,
            noise=sigma * noise,
            clip=norm * clip,
            expected=float(BATCH),
            randomness=source,
        )

    return make


class Seeded(PrivateStep):
    def released(self, batches):
        self.randomness = Randomness(seed=7)
        return PrivateStep.released(self, batches)


class FrozenNoise(PrivateStep):
    def drawn(self, name):
        return PrivateStep.drawn(self, name) * (name != next(iter(self.trained)))


class Mixed(PrivateStep):
    def samples(self, batch):
        found = PrivateStep.samples(self, batch)
        for name, sample in found.items():
            found[name] = sample.mean(0, keepdim=True).expand_as(sample).contiguous()
        return found


def shuffled(count: int, rate: float, randomness: Randomness) -> list[int]:
    """Return a batch of a fixed size, as shuffled epochs have it."""
    return randomness.uniform((count,)).argsort()[: round(count * rate)].tolist()
