"""A transformer in torch whose every part has a polynomial form: images, texts and causal decoders."""

from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.poly.layers.activation import Activation
from unmask.poly.layers.attention import SelfAttention, Weights
from unmask.poly.layers.norm import BatchNorm, norm
from unmask.poly.network import Kind, Pooling


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a transformer is made of.

    Args:
        kind: `image` (inputs are the pixels of a patch), `text` (embeddings of tokens, looked up before) or
            `decoder` (token numbers, causal).
        inputs: numbers per token, or the size of the vocabulary of a decoder.
        tokens: n, the length of a sequence.
        width: d.
        layers: number of layers.
        heads: number of heads.
        hidden: width inside the feed-forward part.
        classes: number of logits.
        attention: one of `attention.KINDS`.
        norm: `batch`, `layer` or `rms`.
        activation: of the feed-forward part, and of the scores if attention is `scaled`.
        placement: of the factor 1 / L, one of `attention.PLACEMENTS`.
        extra_norms: batch norms over the scores and inside the feed-forward part, where norm is `batch`.
        power: of attention `power`.
        pooling: which tokens the head sees.
        order: `pre`, norms before the parts and a last one before the head, or `post`, norms after the sums (BERT).

    Raises:
        BadInput: if a size is not positive.
    """

    kind: Kind = field(default="image")
    inputs: int = field(default=49)
    tokens: int = field(default=16)
    width: int = field(default=64)
    layers: int = field(default=2)
    heads: int = field(default=4)
    hidden: int = field(default=128)
    classes: int = field(default=10)
    attention: str = field(default="scaled")
    norm: str = field(default="batch")
    activation: str = field(default="gelu")
    placement: str = field(default="after-root")
    extra_norms: bool = field(default=True)
    power: int = field(default=4)
    pooling: Pooling = field(default="mean")
    order: Literal["pre", "post"] = field(default="pre")

    def __post_init__(self) -> None:
        for name in ("inputs", "tokens", "width", "layers", "heads", "hidden", "classes"):
            if getattr(self, name) < 1:
                raise BadInput(name, getattr(self, name), "is not positive", "give at least 1")
        if self.norm not in ("batch", "layer", "rms"):
            raise BadInput("norm", self.norm, "is unknown", "name one of: batch, layer, rms")

    @property
    def causal(self) -> bool:
        """Whether a token sees only those before it."""
        return self.kind == "decoder"


class FeedForward(nn.Module):
    """Two maps with an activation between them, and maybe a batch norm before it, which bounds what enters."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.rise = nn.Linear(form.width, form.hidden)
        self.norm = BatchNorm(form.hidden) if form.norm == "batch" and form.extra_norms else None
        self.activation = Activation(form.activation)
        self.fall = nn.Linear(form.hidden, form.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (B, n, d)."""
        x = self.rise(x)
        return cast(Tensor, self.fall(self.activation(x if self.norm is None else self.norm(x))))


class Block(nn.Module):
    """One layer, its norms before the parts or after the sums."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.post = form.order == "post"
        self.norm1, self.norm2 = norm(form.norm, form.width), norm(form.norm, form.width)
        weights = Weights(
            form.attention,
            form.heads,
            activation=form.activation,
            placement=form.placement,
            normed=form.norm == "batch" and form.extra_norms,
            power=form.power,
        )
        self.attention = SelfAttention(form.width, form.heads, weights)
        self.feed_forward = FeedForward(form)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return what the layer hands on (B, n, d)."""
        if self.post:
            x = self.norm1(x + self.attention(x, mask))
            return cast(Tensor, self.norm2(x + self.feed_forward(x)))
        x = x + self.attention(self.norm1(x), mask)
        return x + self.feed_forward(self.norm2(x))


class Transformer(nn.Module):
    """Tokens, learned places, layers, a last norm and a head.

    Args:
        form: what it is made of.
        draw: draws the weights: normal, with deviation 1 / sqrt(fan in) for maps and 0.02 for places.
    """

    def __init__(self, form: Form, draw: torch.Generator) -> None:
        super().__init__()
        self.form = form
        decoder = form.kind == "decoder"
        linear = nn.Linear(form.inputs, form.width)
        self.embedding: nn.Module = nn.Embedding(form.inputs, form.width) if decoder else linear
        self.place = nn.Parameter(torch.zeros(form.tokens, form.width))
        self.blocks = nn.ModuleList(Block(form) for _ in range(form.layers))
        self.norm = norm(form.norm, form.width) if form.order == "pre" else nn.Identity()
        self.head = nn.Linear(form.width, form.classes)
        self.register_buffer("mask", torch.ones(form.tokens, form.tokens).tril() if form.causal else None)
        with torch.no_grad():
            self.place.copy_(0.02 * torch.randn(self.place.shape, generator=draw))
            for child in self.modules():
                if isinstance(child, nn.Linear | nn.Embedding):
                    spread = child.weight.shape[-1] ** -0.5 if isinstance(child, nn.Linear) else 0.02
                    child.weight.copy_(spread * torch.randn(child.weight.shape, generator=draw))
                if isinstance(child, nn.Linear):
                    child.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, classes), or (B, n, classes) if pooling is `all`, for (B, n, inputs) or numbers (B, n)."""
        mask = cast(Tensor | None, self.mask)
        x = self.embedding(x) + self.place[: x.shape[1]]
        mask = None if mask is None else mask[: x.shape[1], : x.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        # The last norm is before the pooling: of a batch norm the two orders are the same map in evaluation.
        x = self.norm(x)
        pooled = {"mean": lambda: x.mean(1), "first": lambda: x[:, 0], "last": lambda: x[:, -1], "all": lambda: x}
        return cast(Tensor, self.head(pooled[self.form.pooling]()))
