"""Find the parts of a transformer by their names and by measuring what they do."""

import re
from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from unmask.public import Component, Kind, Place

# Endings of module paths, as the model families spell them, and the word the field has for them.
# The head stands first: RoBERTa's has an `out_proj`, as attention does elsewhere.
ENDINGS: tuple[tuple[str, tuple[Component, ...]], ...] = (
    (
        r"(classifier|pooler\.dense|pre_classifier|classifier\.dense|classifier\.out_proj|score|lm_head|head)",
        (Component.HEAD,),
    ),
    (r"(attention\.self\.query|q_lin|q_proj|query)", (Component.QUERY,)),
    (r"(attention\.self\.key|k_lin|k_proj|key)", (Component.KEY,)),
    (r"(attention\.self\.value|v_lin|v_proj|value)", (Component.VALUE,)),
    (r"(c_attn|qkv_proj|qkv)", (Component.QUERY, Component.KEY, Component.VALUE)),
    (r"(attention\.output\.dense|out_lin|o_proj|out_proj|attn\.c_proj)", (Component.ATTENTION_OUTPUT,)),
    (r"(mlp\.gate_proj)", (Component.FFN_GATE,)),
    (r"(intermediate\.dense|ffn\.lin1|mlp\.c_fc|mlp\.up_proj|fc1|linear1)", (Component.FFN_IN,)),
    (r"((?<!attention\.)output\.dense|ffn\.lin2|mlp\.c_proj|mlp\.down_proj|fc2|linear2)", (Component.FFN_OUT,)),
    (r"(LayerNorm|layer_norm|layernorm|ln_\d|ln_f|norm\d?)", (Component.NORM,)),
    (r"(word_embeddings|position_embeddings|token_type_embeddings|embed_tokens|wte|wpe)", (Component.EMBEDDING,)),
)
HEAD_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")


def components(path: str) -> tuple[Component, ...]:
    """Return what a module path is called in the field: none, one, or three for a fused map."""
    for ending, names in ENDINGS:
        if re.search(rf"(?:^|\.|_){ending}$", path):
            return names
    return ()


def layer_of(path: str) -> int | None:
    """Return the index of the transformer layer that a path belongs to."""
    found = HEAD_LAYER.search(path)
    return int(found.group(1)) if found else None


def linear(module: nn.Module) -> bool:
    """Whether a module is a linear map: `nn.Linear`, or Hugging Face's transposed `Conv1D`."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def norm(module: nn.Module) -> bool:
    """Whether a module is a layer norm or a root-mean-square norm."""
    return isinstance(module, nn.LayerNorm) or type(module).__name__.endswith("RMSNorm")


def weight_of(module: nn.Module) -> Tensor:
    """Return the weight of a linear map, a norm or a table, apart from any graph."""
    return cast(Tensor, module.weight).detach()


def places(module: nn.Module, heads: int) -> tuple[Place, ...]:
    """List every tensor of a model that can be seen, in the order of the modules.

    Args:
        module: the model.
        heads: number of attention heads, for the input of the attention output map.
    """
    names = {id(parameter): name for name, parameter in reversed(list(module.named_parameters()))}
    found: dict[str, Place] = {}
    for path, child in module.named_modules():
        for place in _places_of(path, child, names, heads):
            found.setdefault(place.name, place)
    return tuple(found.values())


def _places_of(path: str, child: nn.Module, names: dict[int, str], heads: int) -> Iterator[Place]:
    if linear(child):
        kind = Kind.WEIGHT
    elif norm(child):
        kind = Kind.NORM
    elif isinstance(child, nn.Embedding):
        kind = Kind.EMBEDDING
    else:
        return
    parts = components(path)
    layer = layer_of(path)
    for suffix, parameter in child.named_parameters(recurse=False):
        own = Kind.BIAS if suffix == "bias" and kind is Kind.WEIGHT else kind
        transposed = own is Kind.WEIGHT and not isinstance(child, nn.Linear)
        shape = tuple(parameter.shape[::-1] if transposed else parameter.shape)
        for index, component in enumerate(parts or (None,)):
            rows = None
            if len(parts) > 1:
                rows = (index * shape[0] // len(parts), (index + 1) * shape[0] // len(parts))
            yield Place(
                name=_name(path, suffix, layer, component, own),
                module=path,
                parameter=names[id(parameter)],
                layer=layer,
                component=component,
                kind=own,
                shape=shape if rows is None else (rows[1] - rows[0], *shape[1:]),
                rows=rows,
                transposed=transposed,
                heads=heads if component is Component.ATTENTION_OUTPUT else 1,
            )


def _name(path: str, suffix: str, layer: int | None, component: Component | None, kind: Kind) -> str:
    if layer is None or component is None or kind is Kind.NORM:
        return f"{path}.{suffix}" if path else suffix
    return f"layer.{layer}.{component}.{suffix}"
