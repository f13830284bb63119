"""The words of the report: names of metrics and components, and what they mean."""

from collections.abc import Mapping

METRICS: Mapping[str, str] = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "token_recall": "Token recall",
    "exact_match": "Exact match",
}
"""Scores in [0, 1] that every record carries, in the order of the page."""

LEAK = "rouge1"
"""The score that the limit of `--fail-on` is about."""

EXACT = "exact_match"

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

GLOSSARY: Mapping[str, str] = {
    "Component": "One linear map or table of one layer, such as the query projection of layer 3. "
    "A cell of the heat map shows what an adversary gets who sees this part alone.",
    "ROUGE-1, ROUGE-2, ROUGE-L": "How much of the secret text and the recovered text agree: in single words, in pairs "
    "of neighbouring words, and in the longest run of words that stand in the same order. 0 is nothing, 1 is all.",
    "Token recall": "Share of the secret's tokens that occur in the recovered text, whatever their order.",
    "Exact match": "Share of texts that were recovered word for word, in the right order.",
    "Certificate": "The attack puts its guess through the public model and compares the result with what it saw. The "
    "certificate is the relative difference. A difference as small as rounding proves the guess right, and the "
    "adversary learns this without knowing the secret. A guess that passes is called certified.",
    "Null control": "The same guesses, each scored against the other texts: against secrets that it was not recovered "
    "from. It shows what the score of a guess is worth that has nothing to do with the secret.",
    "Trivial guess": "A guess that saw nothing of the secret. A leak is what an attack finds beyond it.",
    "Absent": "The observation provably does not depend on the rest of the text, so no attack can find it there. "
    "Such cells are hatched, and the reason is given.",
    "Seconds": "Wall-clock time of the attack alone, for one text or one batch.",
    "95 % interval": "Wilson score interval over the texts of a cell. It is made for yes-or-no scores and on the safe "
    "side for scores between 0 and 1, whose spread is never larger. Few texts give wide intervals.",
}
"""Plain explanations, in the order of the page."""


def component(name: str) -> str:
    """Return the spoken name of a component or of several joined by `+`.

    Example:
        >>> component("ffn.in"), component("query+key"), component("mixer")
        ('FFN in', 'Query + Key', 'mixer')
    """
    return " + ".join(COMPONENTS.get(part, part) for part in name.split("+"))


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
