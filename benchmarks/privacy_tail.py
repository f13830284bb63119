"""MiniLM from its last attention on, over stored readings: the same function, a hundredth of the time.

Where nothing below the last layer's value map is trained, and queries and keys are frozen, the class token reads every
text with fixed weights: `c_h = V_h (sum_j a_hj x_j) + b_h`. So `sum_j a_hj x_j`, one vector a head, is all that the
trained part needs of a text, and it is computed once.
"""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unmask.defences.training.utility import utility as measured
from unmask.victim import Secret
from unmask.victims.hf import Loaded
from unmask.victims.module import wrap_module
from unmask.victims.torch_model import TorchModel

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "unmask" / "privacy-tail"
AT_ONCE = 16


class Tail(nn.Module):
    """The last layer, pooler and classifier of a BERT classifier, on the readings of the class token.

    Args:
        network: the classifier, whose maps are copied.
        readings: (N, heads, d) `sum_j a_hj x_j` of each text.
        residual: (N, d) the class token's own vector before the last layer.
    """

    def __init__(self, network: Any, readings: Tensor, residual: Tensor) -> None:
        super().__init__()
        self.value, self.output, self.norm, self.wide, self.narrow, self.last, self.pooler, self.classifier = maps(
            network, copied=True
        )
        self.heads = readings.shape[1]
        self.readings = nn.Embedding.from_pretrained(readings.flatten(1))
        self.residual = nn.Embedding.from_pretrained(residual)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, classes) of the texts whose numbers are ids (B, 1)."""
        read = self.value(self.readings(ids)[:, 0].unflatten(-1, (self.heads, -1)))
        own = read.unflatten(-1, (self.heads, -1))
        context = torch.cat([own[:, h, h] for h in range(self.heads)], -1)
        attended = self.norm(self.output(context) + self.residual(ids)[:, 0])
        state = self.last(self.narrow(nn.functional.gelu(self.wide(attended))) + attended)
        return cast(Tensor, self.classifier(torch.tanh(self.pooler(state))))


def maps(network: Any, *, copied: bool = False) -> list[nn.Module]:
    """Return value, attention output, norm, both feed-forward maps, norm, pooler and classifier of the last layer."""
    layer = network.bert.encoder.layer[-1]
    found = [layer.attention.self.value, layer.attention.output.dense, layer.attention.output.LayerNorm]
    found += [layer.intermediate.dense, layer.output.dense, layer.output.LayerNorm]
    found += [network.bert.pooler.dense, network.classifier]
    if not copied:
        return found
    made: list[nn.Module] = []
    for one in found:
        kind = type(one)
        fresh = kind(one.in_features, one.out_features) if isinstance(one, nn.Linear) else kind(one.normalized_shape)
        if isinstance(fresh, nn.LayerNorm):
            fresh.eps = one.eps
        fresh.load_state_dict(one.state_dict())
        made.append(fresh)
    return made


def restored(network: nn.Module, tail: nn.Module) -> nn.Module:
    """Return a copy of the whole model that a tail was made from, with the tail's maps in place.

    Args:
        network: the classifier.
        tail: a trained tail.
    """
    whole, own = copy.deepcopy(network), cast(Tail, tail)
    trained = (own.value, own.output, own.norm, own.wide, own.narrow, own.last, own.pooler, own.classifier)
    for target, source in zip(maps(whole), trained, strict=True):
        target.load_state_dict(source.state_dict())
    return whole


@torch.no_grad()
def readings(loaded: Loaded, texts: Sequence[Secret], name: str) -> tuple[Tensor, Tensor]:
    """Return (N, heads, d) and (N, d): what the class token reads in the last layer, and its own vector before it.

    Args:
        loaded: the public model.
        texts: each of size 1.
        name: of the file that they are kept in.
    """
    path = CACHE / f"{name}-{len(texts)}.safetensors"
    if path.is_file():
        kept = load_file(path)
        return kept["readings"], kept["residual"]
    network: Any = loaded.model.module.eval()
    heads = network.config.num_attention_heads
    order = sorted(range(len(texts)), key=lambda i: texts[i].ids.shape[1])
    width = network.config.hidden_size
    read, residual = torch.zeros(len(texts), heads, width), torch.zeros(len(texts), width)
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        longest = max(texts[i].ids.shape[1] for i in rows)
        ids, mask = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest)
        for row, i in enumerate(rows):
            ids[row, : texts[i].ids.shape[1]], mask[row, : texts[i].ids.shape[1]] = texts[i].ids[0], 1
        seen = network.bert(ids, attention_mask=mask, output_hidden_states=True, output_attentions=True)
        before, weights = seen.hidden_states[-2], seen.attentions[-1][:, :, 0]
        read[rows], residual[rows] = weights @ before, before[:, 0]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"readings": read, "residual": residual}, path)
    return read, residual


def model(loaded: Loaded, texts: Sequence[Secret], name: str) -> tuple[TorchModel, list[Secret]]:
    """Return the tail over these texts as a public model, and each text as the number of its reading.

    Args:
        loaded: the public model.
        texts: each of size 1.
        name: of the file that the readings are kept in.
    """
    tail = Tail(loaded.model.module, *readings(loaded, texts, name)).eval()
    wrapped = wrap_module(
        tail, encode=lambda text: [0], decode=lambda ids: " ".join(map(str, ids)), vocabulary_size=len(texts)
    )
    numbers = [
        Secret(ids=torch.tensor([[i]]), mask=torch.ones(1, 1).bool(), labels=one.labels, texts=("",))
        for i, one in enumerate(texts)
    ]
    return wrapped.model, numbers


def utility(loaded: Loaded, whole: nn.Module, texts: Sequence[Secret], name: str) -> Mapping[str, float]:
    """Return accuracy and Matthews' correlation of a whole trained model, computed by its tail.

    Args:
        loaded: the public model, of which nothing below the last layer was trained.
        whole: the trained one.
        texts: with labels, each of size 1.
        name: of the file that their readings are kept in.

    Raises:
        RuntimeError: if the tail is not the whole model on the first texts.
    """
    public, numbers = model(loaded, texts, name)
    tail = Tail(whole, *readings(loaded, texts, name)).eval()
    with torch.no_grad():
        for number, text in zip(numbers[:8], texts, strict=False):
            short = public.forward(tail, number.ids, None, None)
            full = loaded.model.forward(whole.eval(), text.ids, None, None)
            if not torch.allclose(short, full, atol=1e-4):
                raise RuntimeError(f"the tail gives {short.tolist()}, the whole model {full.tolist()}")
    return measured(public, tail, numbers)
