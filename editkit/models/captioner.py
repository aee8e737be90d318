"""Load a model that says what an image shows, decoder and all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from editkit.components.choice import validate_options
from editkit.components.guard import guarded_as
from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.protocols import Captioner, CaptioningAdapter
from editkit.components.specs import AdapterSpec
from editkit.errors import ModelError
from editkit.models.compute import Compute, resolve_device
from editkit.models.find import find_adapter, with_weights
from editkit.models.memory import free_on_oom
from editkit.models.site_tensors import require_finite_weight
from editkit.progress import silent


def load_captioner(
    model: str | Path,
    *,
    device: str = "auto",
    dtype: str = "float32",
    device_map: str | Mapping[str, Any] | None = None,
    host: Host | None = None,
) -> Captioner:
    """Load a model that says what an image shows, decoder and all.

    Args:
        device_map: how to spread a large model over devices, as transformers takes it; None: all of it on `device`.

    Raises:
        EditkitError: model, device or dtype cannot be used, or the model's family writes no captions.
    """
    host = host or default_host()
    compute = validate_options(Compute, {"device": device, "dtype": dtype}, "load_captioner")
    spec = find_adapter(str(model), host)
    if not spec.captions:
        able = sorted(name for name, other in host.of_kind(AdapterSpec).items() if other.captions)
        raise ModelError(
            f"Adapter '{spec.name}', which {model} belongs to, writes no captions.",
            f"Adapters that do: {', '.join(able) or 'none is installed'}.",
        )
    adapter = cast(CaptioningAdapter, host.adapter(spec))
    place = resolve_device(compute.device)
    files = with_weights(adapter.open(str(model)), silent)
    captioner: Captioner = free_on_oom(
        partial(adapter.load_captioner, files, device=place, dtype=compute.dtype, device_map=device_map)
    )
    for key, tensor in captioner.module.state_dict().items():
        if not tensor.is_meta:  # what a device map leaves on the disk is not here to be looked at
            require_finite_weight(tensor, key)
    guarded: Captioner = guarded_as(adapter, captioner, apart_from=("parameter",))
    return guarded
