"""The words of the report: names of components, and what the page's terms mean."""

from collections.abc import Iterable, Mapping

from unmask.report.kinds import TEXT, Kind

LEAK, EXACT = TEXT.leak, TEXT.exact
"""Of texts; a row knows its own."""

COMPONENTS: Mapping[str, str] = {
    "query": "Query",
    "key": "Key",
    "value": "Value",
    "attention.output": "Attention output",
    "ffn.gate": "FFN gate",
    "ffn.in": "FFN in",
    "ffn.out": "FFN out",
    "norm": "Norm",
    "embedding": "Embedding",
    "head": "Head",
}
"""Spoken names of components, in the order in which data passes them."""

SIGNALS: Mapping[str, str] = {
    "heads": "Heads",
    "block": "Attention block",
    "hidden": "Hidden state",
    "key": "Key",
    "value": "Value",
    "probabilities": "Probabilities",
}
"""Spoken names of what is seen of a layer while it computes, in the order of the page."""

OF_ONE_HEAD: Mapping[str, str] = {
    "heads": "Head",
    "key": "Key, head",
    "value": "Value, head",
    "probabilities": "Prob., head",
}
"""Spoken names of the same of one attention head, before its number."""

SURFACES: Mapping[str, str] = {
    "attention": "signal",
    "attention-images": "signal",
    "store": "head",
    "noisy-store": "head",
    "store-state": "head",
    "answer": "answer",
    "bounded-answer": "answer",
}
"""What one cell is called on each surface that does not show components."""

_PART: Mapping[str, str] = {
    "component": "One linear map or table of one layer, such as the query projection of layer 3. "
    "A cell of the heat map shows what an adversary gets who sees this part alone.",
    "signal": "What one layer computes from the {noun} at one place, such as its keys or the output of one attention "
    "head. A cell of the heat map shows what an adversary gets who sees this signal alone.",
    "head": "One attention head of the first layer, asked by others about the keys and values of the private {noun}, "
    "or a state made of these. A cell shows what an adversary gets who sees its answers, or the state, alone.",
    "answer": "What the model writes on a public prompt that holds the private {noun}.",
}


def glossary(kind: Kind, part: str) -> Mapping[str, str]:
    """Return plain explanations, in the order of the page.

    Args:
        kind: what was private.
        part: what one cell is called.
    """
    noun = kind.noun
    return {
        part.capitalize(): _PART.get(part, _PART["component"]).format(noun=noun),
        **kind.glossary,
        "Certificate": "The attack puts its guess through the public model and compares the result with what it saw. "
        "The certificate is the relative difference. A difference as small as rounding proves the guess right, and the "
        "adversary learns this without knowing the secret. A guess that passes is called certified.",
        "Null control": f"The same guesses, each scored against the other {noun}s: against secrets that it was not "
        "recovered from. It shows what the score of a guess is worth that has nothing to do with the secret.",
        "Trivial guess": "A guess that saw nothing of the secret"
        + (": an even grey" if noun == "image" else "")
        + ". A leak is what an attack finds beyond it.",
        "Absent": f"The observation provably does not depend on the rest of the {noun}, so no attack can find it "
        "there. Such cells are hatched, and the reason is given.",
        "Seconds": f"Wall-clock time of the attack alone, for one {noun} or one batch.",
        "95 % interval": f"Wilson score interval over the {noun}s of a cell. It is made for yes-or-no scores and on "
        f"the safe side for scores between 0 and 1, whose spread is never larger. Few {noun}s give wide intervals.",
    }


def component(name: str) -> str:
    """Return the spoken name of a component or of several joined by `+`.

    Example:
        >>> component("ffn.in"), component("query+key"), component("mixer"), component("heads.3")
        ('FFN in', 'Query + Key', 'mixer', 'Head 3')
    """
    return " + ".join(map(_part, name.split("+")))


def order(names: Iterable[str]) -> list[str]:
    """Return components, or signals, in the order of the page; unknown ones last, as they came.

    Args:
        names: their names.

    Example:
        >>> order(["block", "heads.10", "heads.2", "heads"]), order(["value", "query"])
        (['heads', 'heads.2', 'heads.10', 'block'], ['query', 'value'])
    """
    seen = list(dict.fromkeys(names))
    signals = any(name.split(".")[0] in set(SIGNALS) - set(COMPONENTS) for name in seen)
    known = list(SIGNALS if signals else COMPONENTS)

    def place(name: str) -> tuple[int, int]:
        stem, _, head = name.partition(".") if signals else (name, "", "")
        return (known.index(stem) if stem in known else len(known), int(head) if head.isdigit() else -1)

    return sorted(seen, key=place)


def _part(name: str) -> str:
    stem, _, head = name.partition(".")
    if head.isdigit() and stem in OF_ONE_HEAD:
        return f"{OF_ONE_HEAD[stem]} {head}"
    return COMPONENTS.get(name, SIGNALS.get(name, name))


def layer(index: int | None) -> str:
    """Return the spoken name of a layer.

    Example:
        >>> layer(3), layer(None)
        ('Layer 3', 'Outside the layers')
    """
    return "Outside the layers" if index is None else f"Layer {index}"


def place(index: int | None, name: str) -> str:
    """Return the spoken name of a cell inside a sentence.

    Example:
        >>> place(0, "query"), place(None, "embedding")
        ('layer 0 query', 'embedding')
    """
    spoken = component(name)
    spoken = spoken if spoken.startswith("FFN") else spoken[:1].lower() + spoken[1:]
    return spoken if index is None else f"layer {index} {spoken}"
