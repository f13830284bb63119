"""What a defence may stand in front of."""

from unmask.errors import BadInput
from unmask.surface import Scenario
from unmask.surfaces.activation import ActivationSurface


def activations_of(scenario: Scenario, name: str) -> ActivationSurface:
    """Return a scenario's surface, which has to be one of activations.

    Args:
        scenario: what is to be defended.
        name: the defence's.

    Raises:
        BadInput: if what is seen is no activation.
    """
    if not isinstance(scenario.surface, ActivationSurface):
        raise BadInput("--defence", name, f"does not protect {scenario.surface.name}", "use --surface attention")
    return scenario.surface
