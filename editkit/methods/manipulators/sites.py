"""Which sites a manipulator can change, found out before anything is computed. No torch here."""

from __future__ import annotations

from editkit.components.site import Site
from editkit.components.specs import Options
from editkit.errors import SiteError
from editkit.methods.manipulators.options import RefuseOptions


def require_bias(site: Site, options: Options) -> None:
    """Refuse a site whose bias could not take the mean of its inputs (`mean-ablate`).

    Raises:
        SiteError: it has none.
    """
    if site.bias is None:
        raise SiteError(
            f"{site.name} has no bias, so the mean of an input cannot be folded into it.",
            "Take it out of the targets, or use the manipulator zero.",
        )


def require_shared_space(site: Site, options: RefuseOptions) -> None:
    """Refuse to oppose the towers where they share no space (`refuse`).

    Raises:
        SiteError: the site is no final projection.
    """
    if options.direction == "opposed" and site.role != "proj":
        raise SiteError(
            f"At {site.name} the towers share no space, so there is no direction in which they could be opposed.",
            "Refuse at *:proj, or set manipulator.direction to least-energy or minus-mean.",
        )
