"""Any torch module with sites for polynomials in it: functions are caught where they are called.

A soft-max, a norm or an activation is a call of a torch function inside of some module's `forward`, whoever wrote it.
A first pass finds these calls and hangs a site under the module that makes them; every later pass sends them there.
Nothing has to be known of the architecture.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from unmask.errors import BadInput
from unmask.poly.conversion import multihead
from unmask.poly.layers.activation import Activation
from unmask.poly.layers.forms import Norm, PowerSoftmax

Call = Callable[[nn.Module, Tensor], Tensor]
"""From a module and stored inputs to logits."""

POINTWISE: Mapping[Any, str] = {
    F.gelu: "gelu",
    F.silu: "silu",
    F.relu: "relu",
    torch.relu: "relu",
    Tensor.relu: "relu",
    torch.tanh: "tanh",
    Tensor.tanh: "tanh",
    F.tanh: "tanh",
    torch.sigmoid: "sigmoid",
    Tensor.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    torch.exp: "exp",
    Tensor.exp: "exp",
    torch.rsqrt: "inverse-sqrt",
    Tensor.rsqrt: "inverse-sqrt",
    torch.reciprocal: "inverse",
    Tensor.reciprocal: "inverse",
}
SOFTMAX = (F.softmax, torch.softmax, Tensor.softmax)
LAYER_NORM, RMS_NORM = (F.layer_norm, torch.layer_norm), (F.rms_norm, torch.rms_norm)
WHOLE = {"NewGELUActivation": "gelu", "GELUTanh": "gelu", "PytorchGELUTanh": "gelu", "FastGELUActivation": "gelu"}
"""Modules that compute a near relative of a function out of others."""


@dataclass(eq=False)
class _Frame:
    path: str
    module: nn.Module
    calls: dict[str, int] = field(default_factory=dict)


class Converted(nn.Module):
    """A module whose soft-maxes, norms and activations go through sites that hang below it.

    Args:
        module: the original; it is copied and not changed.
        call: how it is called.
        example: inputs of the first pass; their scores also set the constants of each `PowerSoftmax`.
        client: module path of what the client computes in clear, such as an embedding; nothing in it is changed.
        power: of each `PowerSoftmax`.
        centred: whether each takes the mean of a row off first.

    Raises:
        BadInput: if a soft-max or a norm is not over the last axis, naming the module, or nothing is found.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.GELU())
        >>> [name for name, _ in Converted(net, lambda m, x: m(x), torch.zeros(1, 2)).named_modules()][-1]
        'module.1.poly_gelu'
    """

    def __init__(
        self,
        module: nn.Module,
        call: Call,
        example: Tensor,
        *,
        client: str | None = None,
        power: int = 16,
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.module, self.call, self.client = copy.deepcopy(module), call, client
        self.power, self.centred = power, centred
        self.stack: list[_Frame] = []
        self._replace_whole()
        for path, child in self.module.named_modules():
            child.register_forward_pre_hook(self._enter(path))
            child.register_forward_hook(self._leave, always_call=True)
        training = module.training
        self.module.eval()
        self.finding = True
        with torch.no_grad():
            self(example)
        self.finding = False
        self.train(training)
        if not any(isinstance(child, Activation) for child in self.modules()):
            remedy = "give a module that calls torch functions in its forward"
            raise BadInput("model", type(module).__name__, "calls no function that is not polynomial", remedy)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits for stored inputs."""
        self.stack.clear()
        with _Mode(self):
            return self.call(self.module, x)

    @property
    def path(self) -> str:
        """Where the forward pass is now."""
        return self.stack[-1].path if self.stack else ""

    @property
    def inside(self) -> bool:
        """Whether the forward pass is in a module whose functions are replaced."""
        return bool(self.stack) and all(frame.path != self.client for frame in self.stack)

    def site(self, kind: str, make: Callable[[], nn.Module]) -> nn.Module | None:
        """Return the site of a call that is being made, or None in what the client computes.

        Args:
            kind: of function.
            make: makes it in the first pass.

        Raises:
            BadInput: if the call was not made in the first pass.
        """
        if not self.inside:
            return None
        frame = self.stack[-1]
        if isinstance(frame.module, Activation):
            return None
        count = frame.calls[kind] = frame.calls.get(kind, 0) + 1
        name = f"poly_{kind.replace('-', '_')}" + (f"_{count}" if count > 1 else "")
        found = frame.module._modules.get(name)
        if found is None:
            if not self.finding:
                rule = f"calls {kind} where the example did not"
                raise BadInput("model", frame.path, rule, "convert it with an example that takes the same path")
            found = make()
            frame.module.add_module(name, found)
        return found

    def _replace_whole(self) -> None:
        for path, child in list(self.module.named_modules()):
            name = WHOLE.get(type(child).__name__)
            if name is not None and path:
                self.module.set_submodule(path, Activation(name))

    def _enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def push(module: nn.Module, _: Any) -> None:
            self.stack.append(_Frame(path, module))

        return push

    def _leave(self, _: nn.Module, __: Any, ___: Any) -> None:
        self.stack.pop()


class _Mode(TorchFunctionMode):
    def __init__(self, host: Converted) -> None:
        super().__init__()
        self.host = host

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in POINTWISE:
            site = self.host.site(POINTWISE[func], lambda: Activation(POINTWISE[func]))
            return func(*args, **kwargs) if site is None else site(args[0] if args else kwargs["input"])
        if func in SOFTMAX:
            return _softmax(self.host, func, args, kwargs)
        if func in LAYER_NORM or func in RMS_NORM:
            return _norm(self.host, func, args, kwargs)
        if func is F.scaled_dot_product_attention:
            return _attention(self.host, func, args, kwargs)
        if func is F.multi_head_attention_forward:
            return _multihead(self.host, func, args, kwargs)
        return func(*args, **kwargs)


def _multihead(host: Converted, func: Any, args: Any, kwargs: Any) -> Any:
    def weigh(scores: Tensor) -> Tensor:
        site = host.site("softmax", lambda: _power(host, scores))
        assert site is not None
        return cast(Tensor, site(scores))

    if not host.inside:
        return func(*args, **kwargs)
    out, weights = multihead.attention(args, kwargs, weigh, host.path)
    if not kwargs.get("need_weights", True):
        return out, None
    return out, weights.mean(1) if kwargs.get("average_attn_weights", True) else weights


def _softmax(host: Converted, func: Any, args: Any, kwargs: Any) -> Tensor:
    scores: Tensor = args[0] if args else kwargs["input"]
    axis = args[1] if len(args) > 1 else kwargs.get("dim")
    site = host.site("softmax", lambda: _power(host, scores))
    if site is None:
        return func(*args, **kwargs)
    if axis not in (-1, scores.ndim - 1):
        raise BadInput("model", host.path, f"takes a soft-max over axis {axis}", "take it over the last one")
    return site(scores)


def _power(host: Converted, scores: Tensor) -> PowerSoftmax:
    site = PowerSoftmax(scores.shape[1] if scores.ndim == 4 else 1, host.power, centred=host.centred)
    site.calibrate(scores)
    return site


def _norm(host: Converted, func: Any, args: Any, kwargs: Any) -> Tensor:
    centred = func in LAYER_NORM
    names = ("input", "normalized_shape", "weight", *(("bias",) if centred else ()), "eps")
    given = {"weight": None, "bias": None, "eps": None} | dict(zip(names, args, strict=False)) | kwargs
    site = host.site("norm", Norm)
    if site is None:
        return func(*args, **kwargs)
    if len(given["normalized_shape"]) != 1:
        raise BadInput("model", host.path, "normalises several axes", "normalise the last one alone")
    epsilon = given["eps"] if given["eps"] is not None else (1e-5 if centred else torch.finfo(torch.float32).eps)
    return site(given["input"], given["weight"], given["bias"], epsilon, centred)


def _attention(host: Converted, func: Any, args: Any, kwargs: Any) -> Tensor:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = {"attn_mask": None, "is_causal": False, "scale": None} | dict(zip(names, args, strict=False)) | kwargs
    query, key, mask = given["query"], given["key"], given["attn_mask"]
    scores = query @ key.transpose(-1, -2) * (given["scale"] or query.shape[-1] ** -0.5)
    if given["is_causal"]:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, HIDDEN_SCORE) if mask.dtype is torch.bool else scores + mask
    site = host.site("softmax", lambda: _power(host, scores))
    return func(*args, **kwargs) if site is None else site(scores).to(given["value"].dtype) @ given["value"]


HIDDEN_SCORE = torch.finfo(torch.float32).min


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation, and its mode back at the end.

    Args:
        module: any.
    """
    mode = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(mode)


class Called(nn.Module):
    """A module beside the way it is called, so that it takes stored inputs alone.

    Args:
        module: as its author wrote it.
        call: how it is called.
    """

    def __init__(self, module: nn.Module, call: Call) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits for stored inputs."""
        return self.call(self.module, x)
