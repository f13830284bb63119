"""A colour scale whose lightness changes steadily, so that it reads without hues and in print.

On a light page a leak is dark, on a dark page it glows; zero is close to the page's colour.
"""

STEPS = 20
"""Values are drawn in steps of 1/20."""

_LIGHT = ("fdf6dc", "f9dfa0", "f2b868", "e08a50", "bd5746", "8a2f41", "531a34")
_DARK = ("2a2422", "4a2530", "7c3340", "b24f45", "dd7b4d", "f2ae65", "f9dc97")


def step(value: float) -> int:
    """Return the colour step of a score in [0, 1]; only a true one gets the last step.

    Example:
        >>> step(0.0), step(0.5), step(0.999), step(1.0)
        (0, 10, 19, 20)
    """
    value = min(max(value, 0.0), 1.0)
    return STEPS if value == 1 else min(round(value * STEPS), STEPS - 1)


def colour(index: int, *, dark: bool = False) -> str:
    """Return the colour of a step as `#rrggbb`.

    Args:
        index: a step, 0 to `STEPS`.
        dark: whether the page is dark.

    Example:
        >>> colour(0), colour(0, dark=True)
        ('#fdf6dc', '#2a2422')
    """
    anchors = _DARK if dark else _LIGHT
    where = index / STEPS * (len(anchors) - 1)
    left = min(int(where), len(anchors) - 2)
    pairs = zip(_channels(anchors[left]), _channels(anchors[left + 1]), strict=True)
    mixed = (round(a + (b - a) * (where - left)) for a, b in pairs)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def luminance(colour: str) -> float:
    """Return the relative luminance of `#rrggbb` in [0, 1], as WCAG 2 defines it.

    Example:
        >>> luminance("#ffffff")
        1.0
    """
    linear = [
        c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in _channels(colour[1:])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ink(colour: str) -> str:
    """Return black or white, whichever stands out more; the contrast is at least 4.5 to 1.

    Example:
        >>> ink("#fdf6dc"), ink("#531a34")
        ('#000000', '#ffffff')
    """
    light = luminance(colour)
    return "#000000" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "#ffffff"


def css() -> str:
    """Return one rule per step for a light page and one for a dark page; paper is light."""
    return _rules(dark=False) + "@media screen and (prefers-color-scheme:dark){" + _rules(dark=True) + "}"


def _rules(*, dark: bool) -> str:
    shades = [colour(index, dark=dark) for index in range(STEPS + 1)]
    return "".join(f".q{index}{{background:{shade};color:{ink(shade)}}}" for index, shade in enumerate(shades))


def _channels(digits: str) -> tuple[int, int, int]:
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)
