"""Which sites a manipulator can change, found out before anything is computed. No torch here."""

from __future__ import annotations

from editkit.components.site import Site
from editkit.components.spec import Options
from editkit.errors import SiteError
from editkit.methods.manipulators.options import LoraOptions, RefuseOptions


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


def require_adapted(site: Site, options: LoraOptions) -> None:
    """Refuse a site that an adapter does not change (`lora`).

    Raises:
        SiteError: it does not, or not one module of its alone stands for the site.
        ModelError: there is no such adapter.
    """
    from editkit.files.lora_adapter import LoraAdapter

    adapter = LoraAdapter.open(options.adapter)
    if adapter.module_of(site.module) is None:
        endings = sorted({module.rpartition(".")[2] for module in adapter.modules})
        raise SiteError(
            f"{options.adapter} has nothing for {site.name} (module {site.module or 'none'}): it changes "
            f"{len(adapter.modules)} modules, called {', '.join(endings)}.",
            "Give --target for the sites that it changes alone, such as *:attn.q for q_proj.",
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
