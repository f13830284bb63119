"""A model as the adversary holds it: forward, backward and replay of any `torch.nn.Module`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.public import InputTable, Kind, Place, Vocabulary
from unmask.site import Site
from unmask.victims.anatomy import norm, weight_of
from unmask.victims.capture import Reader, mode, reading, recording, replaced
from unmask.victims.sites import Signals

Forward = Callable[[nn.Module, Tensor, Tensor | None, Tensor | None], Tensor]
"""(module, ids (C, n), attention mask (C, n) or (C, 1, n, n) or None, positions (C, n) or None) -> logits."""

CANDIDATES = 256
"""Substituted tokens in one pass; attention between them is masked but paid for, with its square."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchModel:
    """Implements `unmask.public.PublicModel` for a module with one table of token embeddings.

    Args:
        module: the model; it is never changed, dropout is off while the adversary computes.
        forward: how to call it; see `Forward`.
        token_embedding: path of the `nn.Embedding` that reads token ids.
        masks: whether `forward` honours a 4-D attention mask and positions.
    """

    name: str
    module: nn.Module
    forward: Forward
    token_embedding: str
    vocabulary: Vocabulary
    places: tuple[Place, ...]
    causal: bool
    classes: int | None
    max_length: int
    masks: bool
    tables: dict[str, InputTable]
    text: Callable[[Sequence[int]], str]
    signals: Signals
    modules: dict[str, nn.Module] = field(repr=False)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every whole signal of every layer that can be seen, layer by layer."""
        return tuple(self.signals.readers)

    @property
    def heads(self) -> int:
        """Number of attention heads of a layer."""
        return self.signals.heads

    @property
    def places_words(self) -> bool:
        """Whether a forward pass can be told each token's position and who may see whom."""
        return self.masks

    @property
    def parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a sequence without special tokens."""
        return self.text([i for i in ids if i not in self.vocabulary.special])

    def embedding(self) -> Tensor:
        """Return the (V, d) table of token embeddings."""
        return weight_of(self.modules[self.token_embedding])[: self.vocabulary.size]

    def affine(self, place: Place) -> tuple[Tensor, Tensor]:
        """Return weight (d_out, d_in) and bias (d_out,) of the place's linear map; zeros without a bias."""
        module = self.modules[place.module]
        weight = weight_of(module).T if place.transposed else weight_of(module)
        bias = getattr(module, "bias", None)
        shift = torch.zeros(len(weight), dtype=weight.dtype) if bias is None else bias.detach()
        rows = slice(None) if place.rows is None else slice(*place.rows)
        return weight[rows], shift[rows]

    def input_table(self, place: Place) -> InputTable | None:
        """Return the closed form of the place's input, or None where the input mixes positions."""
        return self.tables.get(place.module)

    @torch.no_grad()
    def inputs(self, ids: Tensor, places: Sequence[Place], *, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return the input (C, n, d_in) of each place, by name."""
        wanted = {place.module: self.modules[place.module] for place in places}
        with mode(self.module, training=False), recording(wanted, stop=True) as tape:
            self.forward(self.module, ids, mask, None)
        return {place.name: tape.inputs[place.module] for place in places}

    def inputs_from_embeddings(
        self, embeddings: Tensor, places: Sequence[Place], *, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the input (C, n, d_in) of each place for embeddings (C, n, d), gradients flowing."""
        wanted = {place.module: self.modules[place.module] for place in places}
        ids = torch.zeros(embeddings.shape[:2], dtype=torch.long)
        with (
            mode(self.module, training=False),
            recording(wanted, stop=True) as tape,
            replaced(self.modules[self.token_embedding], embeddings),
            torch.enable_grad(),
        ):
            self.forward(self.module, ids, mask, None)
        return {place.name: tape.inputs[place.module] for place in places}

    @torch.no_grad()
    def activations(self, ids: Tensor, sites: Sequence[Site], *, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Return what stands at each site for ids (C, n), by its name."""
        readers = [self.signals.reader(site) for site in sites]
        with mode(self.module, training=False), reading(self.modules, readers) as tape:
            self.forward(self.module, ids, mask, None)
        return tape

    def activations_from_embeddings(
        self, embeddings: Tensor, sites: Sequence[Site], *, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return what stands at each site for embeddings (C, n, d), gradients flowing."""
        readers = [self.signals.reader(site) for site in sites]
        ids = torch.zeros(embeddings.shape[:2], dtype=torch.long)
        with (
            mode(self.module, training=False),
            reading(self.modules, readers) as tape,
            replaced(self.modules[self.token_embedding], embeddings),
            torch.enable_grad(),
        ):
            self.forward(self.module, ids, mask, None)
        return tape

    @torch.no_grad()
    def substituted_inputs(
        self, ids: Tensor, positions: Tensor, candidates: Tensor, place: Place, *, hidden: Tensor | None = None
    ) -> Tensor:
        """Return the input (C, d_in) of `place` if the token at `positions[c]` were `candidates[c]`."""
        reader = Reader(name=place.name, path=place.module, before=True, read=lambda found: cast(Tensor, found))
        return self._substituted(ids, positions, candidates, hidden, reader)

    def substituted_activations(self, ids: Tensor, positions: Tensor, candidates: Tensor, site: Site) -> Tensor:
        """Return what stands at `site` (C, d) if the token at `positions[c]` were `candidates[c]`."""
        return self._substituted(ids, positions, candidates, None, self.signals.reader(site))

    @torch.no_grad()
    def _substituted(
        self, ids: Tensor, positions: Tensor, candidates: Tensor, hidden: Tensor | None, reader: Reader
    ) -> Tensor:
        shown = positions if hidden is None else hidden
        masked = self.masks and len(ids) > 0
        parts = []
        for where, tokens, apart in zip(
            positions.split(CANDIDATES), candidates.split(CANDIDATES), shown.split(CANDIDATES), strict=True
        ):
            with mode(self.module, training=False), reading(self.modules, [reader]) as tape:
                if masked:
                    self._masked_forward(ids, where, tokens, apart)
                else:
                    self._plain_forward(ids, where, tokens)
            found = tape[reader.name]
            parts.append(found[0, len(ids) :] if masked else found[torch.arange(len(tokens)), where])
        return torch.cat(parts)

    def _masked_forward(self, ids: Tensor, positions: Tensor, candidates: Tensor, hidden: Tensor) -> None:
        """Append the candidates as tokens that see the sentence and themselves, and are seen by none."""
        n, c = len(ids), len(candidates)
        where = torch.cat([torch.arange(n), positions])
        context = torch.arange(n)
        if self.causal:
            visible = context[None, :] <= context[:, None]
            seen = context[None, :] < positions[:, None]
        else:
            visible = torch.ones(n, n, dtype=torch.bool)
            seen = context[None, :] != hidden[:, None]
        top = torch.cat([visible, torch.zeros(n, c, dtype=torch.bool)], 1)
        bottom = torch.cat([seen, torch.eye(c, dtype=torch.bool)], 1)
        mask = _additive(torch.cat([top, bottom]), self.embedding().dtype)
        self.forward(self.module, torch.cat([ids, candidates])[None], mask, where[None])

    @torch.no_grad()
    def watched_inputs(self, ids: Tensor, positions: Tensor, candidates: Tensor, place: Place) -> Tensor:
        """Return the first position's input (C, d_in) if the token at `positions[c]` were `candidates[c]`."""
        parts = []
        for where, tokens in zip(positions.split(CANDIDATES // 2), candidates.split(CANDIDATES // 2), strict=True):
            with (
                mode(self.module, training=False),
                recording({place.module: self.modules[place.module]}, stop=True) as tape,
            ):
                if self.masks:
                    self._watched_forward(ids, where, tokens)
                else:
                    self._plain_forward(ids, where, tokens)
            found = tape.inputs[place.module]
            parts.append(found[0, len(ids) + len(tokens) :] if self.masks else found[:, 0])
        return torch.cat(parts)

    def _watched_forward(self, ids: Tensor, positions: Tensor, candidates: Tensor) -> None:
        """Append each candidate, and a copy of the first token that sees it in place of the token there."""
        n, c = len(ids), len(candidates)
        context, own = torch.arange(n), torch.eye(c, dtype=torch.bool)
        others = context[None, :] != positions[:, None]
        nothing = torch.zeros(n, 2 * c, dtype=torch.bool)
        allowed = torch.cat(
            [
                torch.cat([torch.ones(n, n, dtype=torch.bool), nothing], 1),
                torch.cat([others, own, torch.zeros_like(own)], 1),
                torch.cat([others & (context > 0), own, own], 1),
            ]
        )
        where = torch.cat([context, positions, torch.zeros_like(positions)])
        tokens = torch.cat([ids, candidates, ids[:1].expand(c)])
        self.forward(self.module, tokens[None], _additive(allowed, self.embedding().dtype), where[None])

    @torch.no_grad()
    def continued_inputs(self, ids: Tensor, positions: Tensor, attended: Tensor, block: Place, place: Place) -> Tensor:
        """Return the input (C, d_in) of `place` for lone tokens whose attention in the layer of `block` is given."""
        weight, bias = self.affine(block)
        output = attended.to(weight.dtype) @ weight.T + bias
        with (
            mode(self.module, training=False),
            recording({place.module: self.modules[place.module]}, stop=True) as tape,
            replaced(self.modules[block.module], output[:, None]),
        ):
            self.forward(self.module, ids[:, None], None, positions[:, None])
        return cast(Tensor, tape.inputs[place.module])[:, 0]

    def _plain_forward(self, ids: Tensor, positions: Tensor, candidates: Tensor) -> None:
        longest = max(len(ids), int(positions.max()) + 1)
        sentence = F.pad(ids, (0, longest - len(ids))).repeat(len(candidates), 1)
        sentence[torch.arange(len(candidates)), positions] = candidates
        self.forward(self.module, sentence, None, None)

    def logits(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the model's logits for ids (C, n) or embeddings (C, n, d), gradients flowing."""
        embedded = inputs if inputs.is_floating_point() else None
        ids = torch.zeros(inputs.shape[:2], dtype=torch.long) if embedded is not None else inputs
        with replaced(self.modules[self.token_embedding], embedded):
            return self.forward(self.module, ids, mask, None)

    def losses(self, logits: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return each sequence's cross-entropy (C,), averaged over its own predicted tokens."""
        if self.classes is not None:
            return F.cross_entropy(logits, targets, reduction="none")
        predicted, wanted = logits[:, :-1].transpose(1, 2), targets[:, 1:]
        wanted = wanted.transpose(1, 2) if wanted.is_floating_point() else wanted
        per_token = F.cross_entropy(predicted, wanted, reduction="none")
        counts = torch.ones(per_token.shape, dtype=per_token.dtype) if mask is None else mask[:, 1:].to(per_token.dtype)
        return (per_token * counts).sum(1) / counts.sum(1)

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

        A linear map `y = W x + b` has `dW = dy^T x` and `db = sum dy`, so one batched backward
        pass to the outputs `y` gives the gradients of all candidates at once.
        """
        sharing = {place.name: self._sharing(place) for place in places}
        wanted = {user.module: self.modules[user.module] for users in sharing.values() for user in users}
        with mode(self.module, training=False), recording(wanted, stop=False) as tape, torch.enable_grad():
            loss = self.losses(self.logits(inputs, mask), targets, mask).sum()
            paths = list(wanted)
            flows = torch.autograd.grad(
                loss, [tape.outputs[path] for path in paths], create_graph=differentiable, allow_unused=True
            )
        flow = {
            path: torch.zeros_like(tape.outputs[path]) if found is None else found
            for path, found in zip(paths, flows, strict=True)
        }
        result = {}
        for place in places:
            value = sum(
                _own_gradient(user, self.modules[user.module], tape.inputs[user.module], flow[user.module])
                for user in sharing[place.name]
            )
            assert isinstance(value, Tensor)  # a place shares its parameter at least with itself
            result[place.name] = value if differentiable else value.detach()
        return result

    def _sharing(self, place: Place) -> tuple[Place, ...]:
        """Return all places of one parameter: a tied table reads tokens and scores them, and both leave traces."""
        return tuple(p for p in self.places if p.parameter == place.parameter and p.rows == place.rows) or (place,)

    def next_token_logits(self, ids: Tensor) -> Tensor | None:
        """Return (C, V) logits of the next token, or None for a classifier."""
        found = self.following_logits(ids, 1)
        return None if found is None else found[:, -1]

    @torch.no_grad()
    def following_logits(self, ids: Tensor, count: int) -> Tensor | None:
        """Return (C, count, V) logits of the token after each of the last `count`, or None for a classifier."""
        if self.classes is not None:
            return None
        with mode(self.module, training=False):
            return self.forward(self.module, ids, None, None)[:, -count:]


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the attention mask (1, 1, n, n) of who may see whom (n, n)."""
    return torch.zeros(1, 1, *allowed.shape, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


def _own_gradient(place: Place, module: nn.Module, seen: Tensor, flow: Tensor) -> Tensor:
    if place.kind is not Kind.EMBEDDING and seen.dim() == 2:
        seen, flow = seen[:, None], flow[:, None]  # a head that reads one position
    if place.rows is not None:
        flow = flow[..., place.rows[0] : place.rows[1]]
    if place.kind is Kind.WEIGHT:
        return torch.einsum("cno,cni->coi", flow, seen)
    if place.kind is Kind.BIAS or place.parameter.endswith("bias"):
        return flow.sum(1)
    if place.kind is Kind.NORM and norm(module):
        return (flow * _normalised(module, seen)).sum(1)
    rows = torch.zeros(seen.shape[0], *place.shape, dtype=flow.dtype)  # an embedding sums its rows' flow
    return rows.scatter_add(1, seen[..., None].expand_as(flow), flow)


def _normalised(module: nn.Module, seen: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(seen, module.normalized_shape, eps=module.eps)
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", 1e-6))
    return seen * (seen.square().mean(-1, keepdim=True) + epsilon).rsqrt()
