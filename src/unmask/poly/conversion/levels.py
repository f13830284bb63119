"""Multiplicative levels of any torch module, counted operation by operation, and what in it is no polynomial.

Every tensor that depends on what the client encrypted carries a level: a sum takes the larger one, a product of two
such tensors, or of one with a tensor of numbers, adds one. One number for the whole tensor costs nothing, because it
is folded into the map before. Maps that follow one another without a product between them could be folded too, so
that the count is that of the module as it is written, never less than what a circuit needs.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unmask.errors import BadInput
from unmask.poly.conversion.intercept import Converted, evaluating
from unmask.poly.layers.activation import Activation
from unmask.poly.layers.forms import HIDDEN, Norm, PowerSoftmax
from unmask.poly.program import least_depth

FREE = frozenset(
    "view _unsafe_view reshape transpose t permute expand unsqueeze squeeze slice select clone contiguous cat stack "
    "split split_with_sizes unbind alias detach _to_copy add sub rsub neg sum mean copy_ constant_pad_nd index_select "
    "unfold im2col roll flip new_zeros new_ones zeros_like ones_like native_dropout mul_ lift_fresh index repeat "
    "_reshape_alias as_strided avg_pool2d adaptive_avg_pool2d diagonal narrow chunk squeeze_".split()
)
"""Moves, sums and copies."""

PRODUCTS = frozenset("mm bmm addmm baddbmm mul matmul convolution dot mv linear addcmul".split())

REMEDY = "write it as a soft-max, a norm over the last axis or an activation, or leave it to the client"


def levels(model: nn.Module, x: Tensor, degrees: Mapping[str, int]) -> int:
    """Return the levels between what the client encrypts and the logits.

    Args:
        model: with sites, with or without polynomials in them.
        x: one input or a few.
        degrees: of each site, by its module path.

    Raises:
        BadInput: if an operation is no polynomial, naming it and its module path.
    """
    depths = {path: least_depth(degree) for path, degree in degrees.items()}
    return trace(model, x, depths)


def trace(model: nn.Module, x: Tensor, depths: Mapping[str, int]) -> int:
    """Return the levels, with so many for the polynomial at each site.

    Args:
        model: with sites.
        x: a few inputs.
        depths: by module path.

    Raises:
        BadInput: if an operation is no polynomial.
    """
    counter = _Counter(model)
    hooks: list[Any] = []
    for path, child in model.named_modules():
        own = _own(path, child, depths)
        if own is not None:
            hooks.append(child.register_forward_pre_hook(counter.enter))
            hooks.append(child.register_forward_hook(counter.leaver(own)))
    client = _client(model)
    if client is None:
        counter.put(x, 0)
    else:
        hooks.append(client.register_forward_hook(counter.encrypted))
    try:
        with torch.no_grad(), evaluating(model), counter:
            logits = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    found = counter.of(logits)
    if found is None:
        rule = "does not depend on what the client hands over"
        raise BadInput("model", type(model).__name__, rule, "name the module that the client computes")
    return found


def _client(model: nn.Module) -> nn.Module | None:
    if isinstance(model, Converted):
        return model.module.get_submodule(model.client) if model.client else None
    return next((child for child in model.modules() if isinstance(child, nn.Embedding)), None)


def _own(path: str, child: nn.Module, depths: Mapping[str, int]) -> int | None:
    match child:
        case Activation() if path in depths:
            return depths[path]
        case PowerSoftmax():
            return child.levels(depths.get(f"{path}.inverse", 0))
        case Norm():
            return child.levels(depths.get(f"{path}.inverse_root", 0))
    return None


class _Counter(TorchDispatchMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.found: dict[int, int] = {}
        self.kept: list[Tensor] = []  # an id is only an id while its tensor lives
        self.inside = 0

    def put(self, tensor: Tensor, level: int) -> None:
        self.found[id(tensor)] = level
        self.kept.append(tensor)

    def of(self, tensor: Tensor) -> int | None:
        return self.found.get(id(tensor))

    def enter(self, _: nn.Module, __: Any) -> None:
        self.inside += 1

    def leaver(self, own: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def leave(_: nn.Module, given: Any, out: Tensor) -> None:
            self.inside -= 1
            start = [self.of(each) for each in tree_leaves(given) if isinstance(each, Tensor)]
            reached = [level for level in start if level is not None]
            if reached:
                self.put(out, max(reached) + own)

        return leave

    def encrypted(self, _: nn.Module, __: Any, out: Any) -> None:
        for each in tree_leaves(out):
            if isinstance(each, Tensor) and each.is_floating_point():
                self.put(each, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        reached = [level for each in given if (level := self.of(each)) is not None]
        if reached:
            level = max(reached) + self._cost(func, args, given)
            for each in tree_leaves(out):
                if isinstance(each, Tensor):
                    self.put(each, level)
        return out

    def _cost(self, func: Any, args: Any, given: list[Tensor]) -> int:
        name = func.overloadpacket.__name__
        if self.inside or name in FREE:
            return 0
        if name in PRODUCTS:
            # A tensor of one number that nothing encrypted went into is a constant.
            tensors = [each for each in given if self.of(each) is not None or each.numel() > 1]
            return 1 if len(tensors) > 1 else 0
        if name == "square":
            return 1
        if name == "pow" and isinstance(args[1], int) and args[1] >= 1:
            return math.ceil(math.log2(args[1]))
        if name == "div" and not (isinstance(args[1], Tensor) and self.of(args[1]) is not None):
            return int(isinstance(args[1], Tensor) and args[1].numel() > 1)
        if name == "masked_fill" and self.of(args[1]) is None:
            # Public. A fill so low says which scores are hidden: that product is counted with the soft-max.
            return int(float(args[2]) > HIDDEN)
        path = self.model.path if isinstance(self.model, Converted) else ""
        raise BadInput("model", path or type(self.model).__name__, f"computes {name}, which is no polynomial", REMEDY)
