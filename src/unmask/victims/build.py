"""Assemble a public model: list its places and measure what the adversary can know by trying."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unmask.public import InputTable, Kind, Place, Vocabulary
from unmask.rng import generator
from unmask.victims import sites
from unmask.victims.anatomy import places, weight_of
from unmask.victims.capture import Tape, mode, recording
from unmask.victims.table import closed_form
from unmask.victims.torch_model import Forward, TorchModel

PROBE_LENGTH = 6


def build(
    *,
    module: nn.Module,
    name: str,
    forward: Forward,
    token_embedding: str,
    vocabulary: Vocabulary,
    classes: int | None,
    heads: int,
    max_length: int,
    masks: bool,
    text: Callable[[Sequence[int]], str],
) -> TorchModel:
    """Return the public model of a module; see `TorchModel` for the arguments.

    Whether the model is causal, and which inputs depend on one token alone, is measured on random
    ids instead of looked up by the model's name.
    """
    modules = dict(module.named_modules())
    found = places(module, heads)
    weights = [place for place in found if place.kind is Kind.WEIGHT]
    a = torch.randint(vocabulary.size, (PROBE_LENGTH,), generator=generator(0, "anatomy"))
    b = a.clone()
    b[-1] = (a[-1] + 1) % vocabulary.size
    c = a.clone()
    c[0] = (a[0] + 1) % vocabulary.size
    tape = _probe(module, forward, modules, torch.stack([a, b, c]))
    seen = {place.module: tape.inputs[place.module] for place in weights if place.module in tape.inputs}
    per_token = {path: x for path, x in seen.items() if x.dim() == 3 and x.shape[1] == PROBE_LENGTH}
    causal = all(torch.allclose(x[0, :-1], x[1, :-1], atol=1e-4) for x in per_token.values())
    tables: dict[str, InputTable] = {}
    token = weight_of(modules[token_embedding])[: vocabulary.size]
    for place in weights:
        x = per_token.get(place.module)
        if x is None or place.module in tables or not _local(x):
            continue
        table = closed_form(token, modules, place, a, x[0])
        if table is not None:
            tables[place.module] = table
    return TorchModel(
        name=name,
        module=module,
        forward=forward,
        token_embedding=token_embedding,
        vocabulary=vocabulary,
        places=tuple(place for place in found if _used(place, seen, weights)),
        causal=causal,
        classes=classes,
        max_length=max_length,
        masks=masks,
        tables=tables,
        text=text,
        signals=sites.find(module, weights, heads, tape.outputs, PROBE_LENGTH),
        modules=modules,
    )


@torch.no_grad()
def _probe(module: nn.Module, forward: Forward, modules: dict[str, nn.Module], ids: Tensor) -> Tape:
    with mode(module, training=False), recording(modules, stop=False) as tape:
        forward(module, ids, None, None)
    return tape


def _local(x: Tensor) -> bool:
    """Whether changing the last token, or the first, leaves all other positions as they are."""
    return torch.allclose(x[0, :-1], x[1, :-1], atol=1e-5) and torch.allclose(x[0, 1:], x[2, 1:], atol=1e-5)


def _used(place: Place, seen: dict[str, Tensor], weights: list[Place]) -> bool:
    return place not in weights or place.module in seen
