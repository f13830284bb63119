"""What everyone knows about a model: its weights, its vocabulary, its forward and backward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from torch import Tensor

from unmask.site import Site


class Component(StrEnum):
    """The parts of a transformer that a selector can name."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    ATTENTION_OUTPUT = "attention.output"
    FFN_GATE = "ffn.gate"
    FFN_IN = "ffn.in"
    FFN_OUT = "ffn.out"
    NORM = "norm"
    EMBEDDING = "embedding"
    HEAD = "head"


class Kind(StrEnum):
    """What a parameter does to what passes through it."""

    WEIGHT = "weight"
    BIAS = "bias"
    NORM = "norm"
    EMBEDDING = "embedding"


@dataclass(frozen=True, kw_only=True)
class Place:
    """One tensor of the model in which data can leave a trace.

    A fused parameter (GPT-2's query, key and value in one) gives one place per part.

    Args:
        name: canonical name, such as `layer.3.query.weight`.
        module: path of the module that owns the parameter; for a weight, its input spans the
            row space of the gradient.
        parameter: name of the parameter in the model's state dict.
        layer: index of the transformer layer, or None outside the layers.
        component: which part of a layer it is; None for a module this project has no word for.
        kind: weight of a linear map, bias, normalisation or embedding table.
        shape: shape of the tensor as seen, a weight always as (d_out, d_in).
        rows: first and last-plus-one output row inside a fused parameter, or None.
        transposed: whether the parameter is stored as (d_in, d_out).
        heads: number of equal blocks of the input that are attention heads, 1 if none.
    """

    name: str
    module: str
    parameter: str
    layer: int | None
    component: Component | None
    kind: Kind
    shape: tuple[int, ...]
    rows: tuple[int, int] | None = None
    transposed: bool = False
    heads: int = 1

    @property
    def size(self) -> int:
        """Number of entries."""
        total = 1
        for n in self.shape:
            total *= n
        return total


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Tokens and their text, with nothing of the tokenizer's machinery.

    Args:
        size: number of tokens V.
        pieces: the tokenizer's own spelling of each token, in order.
        special: ids that never occur inside a sentence (padding, class, separator, unused).
        prefix: ids that the tokenizer puts before every sentence ([CLS], BOS), maybe none.
        suffix: ids that it puts after every sentence ([SEP], EOS), maybe none.
        pad: id that fills short sentences of a batch, or None.
    """

    size: int
    pieces: tuple[str, ...]
    special: frozenset[int]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int | None


@dataclass(frozen=True, kw_only=True)
class InputTable:
    """Closed form of a linear map's input where it depends on one token and its position alone.

    `x[t, i] = norm(token[t] + position[i]) * weight + bias`, with layer or root-mean-square norm.

    Args:
        token: (V, d) embedding of every token, with a constant token type folded in.
        position: (n_max, d), or None for models without absolute positions.
        weight: (d,) gain.
        bias: (d,) shift; zero for a root-mean-square norm.
        epsilon: added to the variance.
        centred: True for a layer norm, False for a root-mean-square norm.
    """

    token: Tensor
    position: Tensor | None
    weight: Tensor
    bias: Tensor
    epsilon: float
    centred: bool

    def rows(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return `x[t, i]` for broadcastable index tensors: (..., d)."""
        raw = self.token[tokens]
        if self.position is not None:
            raw = raw + self.position[positions]
        if self.centred:
            raw = raw - raw.mean(-1, keepdim=True)
        scale = (raw.square().mean(-1, keepdim=True) + self.epsilon).rsqrt()
        return raw * scale * self.weight + self.bias


@runtime_checkable
class PublicModel(Protocol):
    """A model as an adversary holds it: anything may be computed, nothing is secret.

    Shapes: C candidates, n positions, d embedding width, V vocabulary, K classes.
    Sequences hold the tokenizer's prefix and suffix. `mask` is True where a token counts.
    """

    @property
    def name(self) -> str:
        """How reports call the model."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens and their text."""

    @property
    def causal(self) -> bool:
        """Whether a position sees only what stands before it."""

    @property
    def places(self) -> tuple[Place, ...]:
        """Every tensor in which data can leave a trace, in the order of the modules."""

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every whole signal of every layer that can be seen, layer by layer."""

    @property
    def heads(self) -> int:
        """Number of attention heads of a layer."""

    @property
    def parameters(self) -> int:
        """Number of parameters."""

    @property
    def classes(self) -> int | None:
        """Number of classes of the loss, or None for next-token prediction."""

    @property
    def max_length(self) -> int:
        """Number of tokens that the model takes."""

    @property
    def places_words(self) -> bool:
        """Whether a forward pass can be told each token's position and who may see whom."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a sequence without special tokens."""

    def embedding(self) -> Tensor:
        """Return the (V, d) table of token embeddings."""

    def affine(self, place: Place) -> tuple[Tensor, Tensor]:
        """Return weight (d_out, d_in) and bias (d_out,) of the place's linear map."""

    def input_table(self, place: Place) -> InputTable | None:
        """Return the closed form of the place's input, or None where the input mixes positions."""

    def inputs(self, ids: Tensor, places: Sequence[Place], *, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return the input (C, n, d_in) of each place, by name, for ids (C, n)."""

    def inputs_from_embeddings(
        self, embeddings: Tensor, places: Sequence[Place], *, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the input (C, n, d_in) of each place, by name, for embeddings (C, n, d).

        The embeddings stand in place of the token table's output; the result can be differentiated by them.
        """

    def substituted_inputs(
        self, ids: Tensor, positions: Tensor, candidates: Tensor, place: Place, *, hidden: Tensor | None = None
    ) -> Tensor:
        """Return the input (C, d_in) of `place` at `positions[c]` if the token there were `candidates[c]`.

        `ids` (n,) is the sentence. A causal model's answer is exact: it depends on the prefix
        alone, and `positions[c]` may equal n to extend the sentence. A bidirectional model keeps
        the other positions as they are, so the answer ignores their reaction to the new token.
        There, `hidden[c]` is the index of the token that candidate c does not see: its own position
        by default (a substitution), or the index of its old copy (the token moved to a new position).
        """

    def activations(self, ids: Tensor, sites: Sequence[Site], *, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return what stands at each site, by its name, for ids (C, n); see `Signal` for the shapes.

        One head's keys, values and outputs are (C, n, d_h), its probabilities (C, n, n).
        """

    def activations_from_embeddings(
        self, embeddings: Tensor, sites: Sequence[Site], *, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the same for embeddings (C, n, d) in place of the token table's output, gradients flowing."""

    def substituted_activations(self, ids: Tensor, positions: Tensor, candidates: Tensor, site: Site) -> Tensor:
        """Return what stands at `site` (C, d) at `positions[c]` if the token there were `candidates[c]`.

        As `substituted_inputs`, for any signal that has one row per token: all but probabilities.
        """

    def watched_inputs(self, ids: Tensor, positions: Tensor, candidates: Tensor, place: Place) -> Tensor:
        """Return the first position's input (C, d_in) of `place` if the token at `positions[c]` were `candidates[c]`.

        `ids` (n,) is the sentence of a bidirectional model; `positions` are above zero. The first
        position reacts to the new token, the others stay as they are: two tokens are computed for
        each candidate instead of n. A model without 4-D masks gives the exact answer, at its price.
        """

    def continued_inputs(self, ids: Tensor, positions: Tensor, attended: Tensor, block: Place, place: Place) -> Tensor:
        """Return the input (C, d_in) of `place` for lone tokens whose attention in the layer of `block` is given.

        Args:
            ids: (C,) tokens.
            positions: (C,) theirs.
            attended: (C, d) what the heads, side by side, would hand to `block`.
            block: attention output of the first layer.
            place: what comes after it and before any other attention.
        """

    def gradients(
        self,
        inputs: Tensor,
        targets: Tensor,
        places: Sequence[Place],
        *,
        mask: Tensor | None = None,
        differentiable: bool = False,
    ) -> dict[str, Tensor]:
        """Return each candidate's own gradient (C, *shape), by place name.

        Args:
            inputs: ids (C, n), or embeddings (C, n, d) in place of the token table's output.
            targets: (C,) class indices or (C, K) class probabilities; for next-token prediction
                (C, n) token ids or (C, n, V) probabilities, where row i is predicted from row i-1.
            places: what to differentiate by.
            mask: (C, n), True where a token counts; default all.
            differentiable: keep the graph, so that the result can be differentiated again.
        """

    def next_token_logits(self, ids: Tensor) -> Tensor | None:
        """Return (C, V) logits of the token after ids (C, n), or None if the model is no language model."""

    def following_logits(self, ids: Tensor, count: int) -> Tensor | None:
        """Return (C, count, V) logits of the token after each of the last `count` of ids (C, n), or None as above."""
