"""What differs in the words of a report between kinds of private data: texts and images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from unmask.record import Record

PSNR = "psnr_db"
"""The measure that images are compared by in the field."""

PSNR_FULL = 60.0
"""Decibels at which the map's colour is deepest: below the steps of eight bits by far."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The scores of one kind of data, and how the page speaks of them.

    Args:
        noun: what one secret is.
        metrics: scores in [0, 1] that every record carries, with their names, in the order of the page.
        measures: further numbers with a unit, with their names.
        leak: the score that the limit of `--fail-on` is about.
        exact: the share of secrets that came back whole.
        wholly: how a secret came back of which nothing is missing.
        whole: the same beside a count.
        caption: what `exact` counts, as a sentence without its end.
        glossary: what the scores mean.
    """

    noun: str
    metrics: Mapping[str, str]
    measures: Mapping[str, str] = field(default_factory=dict)
    leak: str
    exact: str
    wholly: str
    whole: str
    caption: str
    glossary: Mapping[str, str]

    @property
    def leak_name(self) -> str:
        """Name of the score that the limit is about."""
        return self.metrics[self.leak]

    @property
    def exact_name(self) -> str:
        """Name of the share of secrets that came back whole."""
        return self.metrics[self.exact]


TEXT = Kind(
    noun="text",
    metrics={
        "rouge1": "ROUGE-1",
        "rouge2": "ROUGE-2",
        "rougeL": "ROUGE-L",
        "token_recall": "Token recall",
        "exact_match": "Exact match",
    },
    leak="rouge1",
    exact="exact_match",
    wholly="exactly",
    whole="exact",
    caption="Share of texts that came back word for word",
    glossary={
        "ROUGE-1, ROUGE-2, ROUGE-L": "How much of the secret text and the recovered text agree: in single words, in "
        "pairs of neighbouring words, and in the longest run of words that stand in the same order. 0 is nothing, "
        "1 is all.",
        "Token recall": "Share of the secret's tokens that occur in the recovered text, whatever their order.",
        "Exact match": "Share of texts that were recovered word for word, in the right order.",
    },
)

IMAGE = Kind(
    noun="image",
    metrics={"ssim": "SSIM", "cosine": "Cosine", "recovered": "Recovered"},
    measures={PSNR: "PSNR"},
    leak="ssim",
    exact="recovered",
    wholly="in full",
    whole="recovered",
    caption="Share of images that came back with a PSNR of 30 dB or more",
    glossary={
        "PSNR": "Peak signal-to-noise ratio in decibels: ten times the logarithm of 1 over the mean squared "
        "difference of pixels between 0 and 1. At 30 dB differences are hard to see, above 54 dB the two pictures "
        "are the same in eight bits.",
        "SSIM": "Structural similarity of two pictures: brightness, contrast and structure compared in windows of "
        "11 by 11 pixels. 0 is nothing, 1 is all.",
        "Cosine": "Cosine of the angle between the pixels of the two pictures. Bright pictures are all alike in it.",
        "Recovered": "Share of images that came back with a PSNR of 30 dB or more.",
    },
)

KINDS: Mapping[str, Kind] = {kind.noun: kind for kind in (TEXT, IMAGE)}


def of(record: Record) -> Kind:
    """Return the kind of data that a record is about."""
    pictured = record.pictures or IMAGE.leak in record.scores or "pixels" in record.item
    return IMAGE if pictured else TEXT


def value(number: float | None, metric: str) -> float | None:
    """Return where a score or a measure stands between nothing, 0, and all, 1.

    Args:
        number: the score or the measure.
        metric: its key.

    Example:
        >>> value(0.5, "ssim"), value(30.0, "psnr_db"), value(None, "ssim")
        (0.5, 0.5, None)
    """
    if number is None or metric != PSNR:
        return number
    return min(max(number / PSNR_FULL, 0.0), 1.0)
