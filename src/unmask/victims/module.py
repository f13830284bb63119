"""A user's own `torch.nn.Module` as a victim: nothing to subclass."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from unmask.errors import BadInput
from unmask.public import Vocabulary
from unmask.rng import generator
from unmask.victims.build import PROBE_LENGTH, build
from unmask.victims.capture import mode, recording
from unmask.victims.secrets import Encode
from unmask.victims.torch_model import Forward, TorchModel

Call = Callable[[nn.Module, Tensor, Tensor | None], object]
"""(module, ids (C, n), mask (C, n) or None) -> logits, or something with a field `logits`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A public model beside the function that turns texts into ids.

    Args:
        model: the public model.
        encode: text to ids, special ones included.
    """

    model: TorchModel
    encode: Encode


def wrap_module(
    module: nn.Module,
    *,
    encode: Encode,
    decode: Callable[[Sequence[int]], str],
    vocabulary_size: int,
    name: str | None = None,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
    special: Sequence[int] = (),
    pad: int | None = None,
    max_length: int = 512,
    heads: int = 1,
    call: Call | None = None,
) -> Subject:
    """Turn a module with a table of token embeddings into something that can be audited.

    What it computes is found by trying: logits (C, K) make it a classifier trained with cross-entropy,
    logits (C, n, V) a next-token predictor. Its linear maps, norms and tables are found by type; names
    such as `layers.0.q_proj` give them layers and components.

    Args:
        module: takes ids (C, n) and returns logits.
        encode: text to ids, with whatever stands before and after every sentence.
        decode: ids to text.
        vocabulary_size: number of tokens.
        name: how reports call it; by default the name of its class.
        prefix: ids that `encode` puts before every sentence.
        suffix: ids that it puts after every sentence.
        special: further ids that never occur inside a sentence.
        pad: id that fills short sentences of a batch; without one, batches need equal lengths.
        max_length: number of tokens that the module takes.
        heads: number of attention heads.
        call: how to call the module where `module(ids)` is not enough, such as with a mask.

    Raises:
        BadInput: if no `nn.Embedding` of the module reads the ids, or the logits have another shape.

    Example:
        >>> wrap_module(net, encode=tok.encode, decode=tok.decode, vocabulary_size=1000)  # doctest: +SKIP
    """
    called = name or type(module).__name__
    masked = call is not None
    forward = _forward(call or (lambda net, ids, mask: net(ids)), masked=masked, pad=pad, name=called)
    tables = {path: child for path, child in module.named_modules() if isinstance(child, nn.Embedding)}
    probe = torch.randint(vocabulary_size, (2, min(PROBE_LENGTH, max_length)), generator=generator(0, "probe"))
    try:
        with (
            torch.no_grad(),
            mode(module, training=False),
            recording(cast(dict[str, nn.Module], tables), stop=False) as tape,
        ):
            logits = forward(module, probe, None, None)
    except (RuntimeError, IndexError, TypeError, AttributeError) as error:
        rule = f"cannot be called on ids of shape {tuple(probe.shape)} ({str(error).splitlines()[0]})"
        raise BadInput("module", called, rule, "pass call=, a function of (module, ids, mask)") from error
    path = next((path for path, seen in tape.inputs.items() if torch.equal(seen, probe)), None)
    if path is None or tables[path].num_embeddings < vocabulary_size:
        rule = f"has no nn.Embedding that reads the ids and has {vocabulary_size} rows"
        raise BadInput("module", called, rule, "attack a model with a table of token embeddings")
    language = logits.dim() == 3
    if (language and logits.shape[1] != probe.shape[1]) or logits.dim() not in (2, 3):
        rule = f"returns logits of shape {tuple(logits.shape)} for ids of shape {tuple(probe.shape)}"
        raise BadInput("module", called, rule, "return (C, classes) or (C, n, vocabulary)")
    outside = frozenset([*prefix, *suffix, *special, *([] if pad is None else [pad])])
    model = build(
        module=module,
        name=called,
        forward=forward,
        token_embedding=path,
        vocabulary=Vocabulary(
            size=vocabulary_size,
            pieces=tuple(decode([i]) for i in range(vocabulary_size)),
            special=outside,
            prefix=tuple(prefix),
            suffix=tuple(suffix),
            pad=pad,
        ),
        classes=None if language else logits.shape[-1],
        heads=heads,
        max_length=max_length,
        masks=False,
        text=lambda ids: decode(list(ids)),
    )
    return Subject(model=model, encode=encode)


def _forward(call: Call, *, masked: bool, pad: int | None, name: str) -> Forward:
    def forward(module: nn.Module, ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
        if mask is not None and not masked and pad is None and not bool(mask.all()):
            remedy = "wrap it with pad= or call=, or use texts of equal length"
            raise BadInput(
                "batch", tuple(ids.shape), f"has sentences of unequal length, which {name} cannot mask", remedy
            )
        found = call(module, ids, mask)
        return cast(Tensor, getattr(found, "logits", found))

    return forward
