"""The contract of an adapter, clause by clause, and `check_adapter`, which holds one to it on a real model.

Every function from `the_source_leads_to_it` on is one clause: its docstring is what is promised, its body how that is
checked. They run in this order, and the first that is broken is named. Bounds are relative L2 distances of embeddings.
"""

from __future__ import annotations

import filecmp
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from editkit.components.host import Host
from editkit.components.load import default_host
from editkit.components.site import TOWERS, Site, Tower, match_targets
from editkit.components.specs import AdapterSpec
from editkit.models.find import find_adapter
from editkit.models.observe import observe
from editkit.models.site_tensors import weight_of
from editkit.models.variants import Variant, applied
from editkit.testing.adapter_case import (
    Case,
    Embed,
    distance_from_map,
    embed,
    encode,
    inputs_of,
    noise,
    relative,
    require_close,
    require_embeddings,
)
from editkit.testing.contract import hold, require

CAPTIONS = ("a dog", "Stop! A red bicycle leans against the old brick wall!", "two people share a meal at night")
SAME, SAME_FUNCTION, SAME_IN_HALF = 1e-6, 1e-5, 5e-2
"""The same operations; the same function, computed otherwise; and a rounding to 8 bits (bfloat16) along all layers."""


def check_adapter(
    adapter: str,
    source: str | Path,
    *,
    texts: Sequence[str] = CAPTIONS,
    images: Sequence[Image.Image] | None = None,
    library: Callable[[str], Embed] | None = None,
    host: Host | None = None,
) -> None:
    """Hold an adapter to its contract on one model, on the CPU; loads it about seven times and copies it twice.

    Args:
        adapter: the name it is registered under.
        source: a model of its family, as `--model` takes it.
        texts: captions, at least two, of different lengths.
        images: RGB images, at least two; None: three of noise.
        library: loads a source without editkit, and returns what embeds raw items with it; given the source itself
            and a folder of edited weights. None: embeddings are compared with nothing.
        host: as `load_host` returns it; None: the installed plugins.

    Raises:
        ContractError: names the first clause that is broken, and what was found.
    """
    given: dict[Tower, Sequence[Any]] = {"text": texts, "vision": noise() if images is None else images}
    with TemporaryDirectory() as folder:
        case = Case(adapter, str(source), given, library, host or default_host(), Path(folder))
        hold(f"Adapter '{adapter}'", CLAUSES, case, place=f" on {source}")


def the_source_leads_to_it(case: Case) -> None:
    """The source alone says which adapter a model belongs to."""
    found = find_adapter(case.source, case.host)
    wanted = case.host.resolve(AdapterSpec, case.name)
    require(found is wanted, f"it leads to the adapter '{found.name}'")


def sites_are_listed_without_weights(case: Case) -> None:
    """Sites follow from `files` alone, the configuration and the tensors' shapes; each has a name of its own, which is
    a target that matches it alone."""
    elsewhere = replace(case.files, checkpoint=replace(case.files.checkpoint, root=case.folder / "no such folder"))
    require(case.adapter.sites(elsewhere) == case.sites, "they depend on other files")
    require(bool(case.sites), "there is none")
    names = Counter(site.name for site in case.sites)
    for site in case.sites:
        require(names[site.name] == 1, f"{names[site.name]} sites are called {site.name}")
        require(site.tower in TOWERS, f"{site.name} is of no tower")
        found = match_targets([site.name], case.sites) if site.role != "tensor" else []
        require(found == [site], f"the target {site.name} means {[other.name for other in found]}")


def sites_are_live_tensors_of_the_checkpoint(case: Case) -> None:
    """`key` names a checkpoint's tensor and, through `parameter`, the live one, equal to it in the dtype asked for; the
    weight in it is [O, I] as `shape` says, and `module` holds it. The model is in evaluation mode."""
    require(not case.model.module.training, "the model is in training mode")
    case.require_checkpoint_values(case.model, "float32")
    for site in case.sites:
        held = case.model.module.get_submodule(site.module).parameters()
        known = any(case.model.parameter(site.key) is tensor for tensor in held)
        require(known, f"{site.name}: {site.module} holds no {site.key}")


def default_targets_match_sites(case: Case) -> None:
    """Every default target names sites of the model."""
    for target in case.adapter.default_targets(case.files):
        match_targets([target], case.sites)
    require(bool(case.defaults), "there is no default target")


def a_tower_names_its_tensors(case: Case) -> None:
    """`tensors` names tensors of the checkpoint, without reading any, and every site of the tower is among them."""
    elsewhere = replace(case.files, checkpoint=replace(case.files.checkpoint, root=case.folder / "no such folder"))
    for tower in case.towers:
        held = set(case.adapter.tensors(elsewhere, tower).values())
        strange = sorted(held - case.files.checkpoint.tensors.keys())
        require(not strange, f"the checkpoint has no {strange[:1]}, which the {tower} tower names")
        for site in case.sites:
            known = site.tower != tower or site.key in held
            require(known, f"{site.name}: {site.key} is not among the {tower} tower's tensors")


def every_site_is_observed_once(case: Case) -> None:
    """In one forward pass of its tower, and in none of the other's, every site's map runs once: y = x W^T (+ b), with x
    [B, T, I] or [B, I], T the tokens of the mask, and one token exactly where the site is `pooled`."""
    for tower in case.towers:
        inputs, mask = inputs_of(case.model, tower, case.items[tower])
        runs: Counter[Site] = Counter()

        def receive(site: Site, x: Tensor, y: Tensor, runs: Counter[Site] = runs, mask: Tensor | None = mask) -> None:
            runs[site] += 1
            width = site.shape[1]
            require(x.shape[-1] == width, f"{site.name} has inputs of width {x.shape[-1]}, not {width}")
            tokens = {1, x.shape[1] if mask is None else mask.shape[1]}
            require(x.shape[1] in tokens, f"{site.name} sees {x.shape[1]} tokens, the mask has {max(tokens)}")
            require((x.shape[1] == 1) == site.pooled, f"{site.name} sees {x.shape[1]} tokens, pooled={site.pooled}")
            off = distance_from_map(case.model, site, x, y)
            require(off <= 1e-4, f"{site.name}: its outputs are not x W^T (+ b), they are off by {off:.1e}")

        with observe(case.model, case.sites, receive), torch.no_grad():
            encode(case.model, tower, inputs)
        for site in case.sites:
            wanted = int(site.tower == tower)
            require(runs[site] == wanted, f"{site.name} ran {runs[site]} times in the {tower} tower, not {wanted}")


def observing_changes_nothing(case: Case) -> None:
    """Weights stay as they are bit by bit; embeddings move by rounding at most (1e-6), and not at all afterwards."""
    before = {key: tensor.clone() for key, tensor in case.model.module.state_dict().items()}
    for tower in case.towers:
        with observe(case.model, case.sites, lambda site, x, y: None):
            require_close(embed(case.model, tower, case.items[tower]), case.embedded[tower], SAME, f"{tower} observed")
        after = embed(case.model, tower, case.items[tower])
        require(torch.equal(after, case.embedded[tower]), f"{tower} embeddings differ after observing")
    for key, tensor in case.model.module.state_dict().items():
        require(torch.equal(tensor, before[key]), f"{key} has changed")


def embeddings_are_normalised_and_of_one_width(case: Case) -> None:
    """Embeddings are float32 [B, D], finite, of length 1, D the same in towers that share a space."""
    for tower, found in case.embedded.items():
        require_embeddings(found, f"{tower} embeddings")
        require(found.shape[0] == len(case.items[tower]), f"{tower} embeddings are {tuple(found.shape)}")
    widths = {found.shape[1] for found in case.embedded.values()}
    require(len(widths) == 1 or bool(case.files.no_joint_space), f"widths are {widths}")


def an_item_alone_embeds_as_in_a_batch(case: Case) -> None:
    """Neither padding nor neighbours reach an embedding (1e-5)."""
    for tower, together in case.embedded.items():
        alone = torch.cat([embed(case.model, tower, [item]) for item in case.items[tower]])
        require_close(alone, together, SAME_FUNCTION, f"{tower} alone and in a batch")


def embeddings_are_the_librarys(case: Case) -> None:
    """The library itself, without editkit, gives the same embeddings (1e-5)."""
    case.compare_with_library(case.source, case.embedded)


def each_tower_loads_alone(case: Case) -> None:
    """A tower that is loaded without the other says so in `towers` and gives the same embeddings."""
    for tower in case.towers:
        model = case.load(towers=(tower,))
        require(tuple(model.towers) == (tower,), f"{tower} alone says its towers are {model.towers}")
        require_close(embed(model, tower, case.items[tower]), case.embedded[tower], SAME, f"{tower} alone")


def an_edit_of_files_is_that_of_the_live_model(case: Case) -> None:
    """A patch applied to files, loaded by adapter and by library, embeds as the same patch laid over the live model."""
    adapter = case.host.adapter(find_adapter(str(case.edited), case.host))
    reloaded = adapter.load(adapter.open(str(case.edited)), device="cpu", dtype="float32", towers=case.towers)
    with applied(case.model, Variant("edited", case.patch.changes), list(case.patch.changes)):
        live = {tower: embed(case.model, tower, case.items[tower]) for tower in case.towers}
    for site in case.defaults:
        moved = relative(live[site.tower], case.embedded[site.tower])
        require(moved > SAME_FUNCTION, f"an edit of {site.name} in memory does not reach the {site.tower} embeddings")
    for tower in case.towers:
        found = embed(reloaded, tower, case.items[tower])
        require_close(found, live[tower], SAME, f"{tower} after an edit, loaded from files and in memory")
    case.compare_with_library(str(case.edited), live)


def reverting_restores_every_byte(case: Case) -> None:
    """A patch applied and reverted leaves the files that there were."""
    case.patch.revert(case.edited, case.folder / "reverted")
    base = case.files.checkpoint
    for name in (*base.files, *base.others):
        require(filecmp.cmp(base.root / name, case.folder / "reverted" / name, shallow=False), f"{name} differs")


def every_dtype_loads(case: Case) -> None:
    """Loaded in float16 and bfloat16, embeddings stay float32, normalised, and near float32's (5e-2)."""
    for dtype in ("float16", "bfloat16"):
        model = case.load(dtype=dtype)
        case.require_checkpoint_values(model, dtype)
        for tower in case.towers:
            found = embed(model, tower, case.items[tower])
            require_embeddings(found, f"{tower} embeddings in {dtype}")
            require_close(found, case.embedded[tower], SAME_IN_HALF, f"{tower} in {dtype}")


def gradients_reach_the_weights(case: Case) -> None:
    """With grad on, embeddings are differentiable by a default site's weight."""
    for site in case.defaults:
        weight = case.model.parameter(site.key).requires_grad_(True)  # for good: this is the last clause
        with torch.enable_grad():
            embedded = encode(case.model, site.tower, inputs_of(case.model, site.tower, case.items[site.tower])[0])
            require(embedded.requires_grad, f"{site.tower} embeddings have no gradient by {site.name}")
            (gradient,) = torch.autograd.grad(embedded[:, 0].sum(), weight, allow_unused=True)
        require(gradient is not None, f"{site.tower} embeddings do not depend on {site.name}")
        own = weight_of(gradient, site)
        require(bool(own.isfinite().all() and own.any()), f"the gradient by {site.name} is zero or not finite")


CLAUSES = (
    the_source_leads_to_it,
    sites_are_listed_without_weights,
    sites_are_live_tensors_of_the_checkpoint,
    default_targets_match_sites,
    a_tower_names_its_tensors,
    every_site_is_observed_once,
    embeddings_are_normalised_and_of_one_width,
    observing_changes_nothing,
    an_item_alone_embeds_as_in_a_batch,
    embeddings_are_the_librarys,
    each_tower_loads_alone,
    an_edit_of_files_is_that_of_the_live_model,
    reverting_restores_every_byte,
    every_dtype_loads,
    gradients_reach_the_weights,
)
