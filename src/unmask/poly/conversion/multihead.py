"""`torch.nn.MultiheadAttention` written out, so that its soft-max can be seen."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.errors import BadInput

NAMES = (
    "query key value width heads in_weight in_bias bias_k bias_v zero dropout out_weight out_bias training "
    "key_padding_mask need_weights attn_mask use_separate_proj_weight"
).split()
"""Positional arguments of `multi_head_attention_forward`, in their order; the first few are shortened."""

ALIASES = {
    "embed_dim_to_check": "width",
    "num_heads": "heads",
    "in_proj_weight": "in_weight",
    "in_proj_bias": "in_bias",
    "add_zero_attn": "zero",
    "dropout_p": "dropout",
    "out_proj_weight": "out_weight",
    "out_proj_bias": "out_bias",
}


def attention(args: Any, kwargs: Any, weigh: Callable[[Tensor], Tensor], path: str) -> tuple[Tensor, Tensor]:
    """Return the output (L, N, E) and the weights (N, H, L, S).

    Args:
        args: of `torch.nn.functional.multi_head_attention_forward`.
        kwargs: of it.
        weigh: from scores (N, H, L, S), very low where masked, to weights.
        path: of the module that calls it, for errors.

    Raises:
        BadInput: if the maps of query, key and value are apart, or biases or zeros are added to the keys.
    """
    given: dict[str, Any] = dict.fromkeys(NAMES) | dict(zip(NAMES, args, strict=False))
    given |= {ALIASES.get(name, name): value for name, value in kwargs.items()}
    if given["use_separate_proj_weight"] or given["bias_k"] is not None or given["zero"]:
        rule = "has maps of other widths, or adds biases or zeros to the keys"
        raise BadInput("model", path, rule, "use one width and plain keys")
    heads = given["heads"]
    bias = given["in_bias"]
    maps = zip(given["in_weight"].chunk(3), (None,) * 3 if bias is None else bias.chunk(3), strict=True)
    parts = (F.linear(given[name], *one) for name, one in zip(("query", "key", "value"), maps, strict=True))
    # (L, N, E) to (N, H, L, E / H)
    q, k, v = (part.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3) for part in parts)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    mask, padding = given["attn_mask"], given["key_padding_mask"]
    if mask is not None and mask.ndim == 3:
        mask = mask.view(-1, heads, *mask.shape[1:])
    for each in (mask, None if padding is None else padding[:, None, None]):
        scores = scores if each is None else scores + _added(each, scores)
    weights = weigh(scores).to(v.dtype)
    weights = F.dropout(weights, given["dropout"] or 0.0, bool(given["training"]))
    out = (weights @ v).permute(2, 0, 1, 3).flatten(2)
    return F.linear(out, given["out_weight"], given["out_bias"]), weights


def _added(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        return mask
    return torch.zeros(mask.shape, dtype=like.dtype).masked_fill(mask, torch.finfo(like.dtype).min / 4)
