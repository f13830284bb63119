"""Find, by measurement, the closed form of inputs that depend on one token alone."""

import torch
from torch import Tensor, nn

from unmask.public import InputTable, Place
from unmask.victims.anatomy import norm, weight_of

TOLERANCE = 1e-4


def closed_form(
    token: Tensor, modules: dict[str, nn.Module], place: Place, ids: Tensor, seen: Tensor
) -> InputTable | None:
    """Return the table that reproduces `seen`, or None if no combination of parts does.

    Tries every layer or root-mean-square norm of the model, every embedding table as positions
    (shifted by 0 to 2 rows: RoBERTa counts from behind its padding id) and every row 0 of a small table as token type,
    and keeps the first combination whose rows equal what the model computed.

    Args:
        token: (V, d) token embeddings.
        modules: path to module, of the whole model.
        place: whose input is asked for.
        ids: (n,) token ids that were fed.
        seen: (n, d) input of the place that the model computed for them.
    """
    if seen.shape[-1] != token.shape[-1]:
        return None
    tables = [weight_of(m) for m in modules.values() if isinstance(m, nn.Embedding)]
    tables = [table for table in tables if table.shape[-1] == token.shape[-1]]
    positions: list[Tensor | None] = [None]
    positions += [table[shift:] for table in tables for shift in (0, 1, 2) if len(table) >= shift + len(ids)]
    types: list[Tensor | None] = [None, *(table[0] for table in tables if len(table) <= 2)]
    layer = place.layer
    norms = [m for path, m in modules.items() if norm(m) and (layer is None or _early(path, layer))]
    where = torch.arange(len(ids))
    for normalise in norms:
        for position in positions:
            for kind in types:
                found = _table(token if kind is None else token + kind, position, normalise)
                if found.weight.shape == seen.shape[-1:] and _same(found.rows(ids, where), seen):
                    return found
    return None


def _early(path: str, layer: int) -> bool:
    digits = [int(part) for part in path.split(".") if part.isdigit()]
    return not digits or digits[0] <= layer


def _same(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= TOLERANCE * b.abs().max())


def _table(token: Tensor, position: Tensor | None, module: nn.Module) -> InputTable:
    weight = weight_of(module)
    bias = module.bias if isinstance(module, nn.LayerNorm) else None
    return InputTable(
        token=token,
        position=position,
        weight=weight,
        bias=torch.zeros_like(weight) if bias is None else bias.detach(),
        epsilon=float(getattr(module, "variance_epsilon", getattr(module, "eps", 1e-6))),
        centred=isinstance(module, nn.LayerNorm),
    )
