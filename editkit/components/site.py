"""A site is one linear map that can be scored and edited; a target is how a user names sites."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from editkit.errors import SiteError, did_you_mean

Tower = Literal["text", "vision"]
Side = Literal["safe", "unsafe"]
"""The two sides of a tuple."""
Role = str
"""What a linear map is in its architecture: one of `ROLES`, or a name of the adapter's own."""
TOWERS: tuple[Tower, ...] = ("text", "vision")
ROLES: tuple[Role, ...] = (
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.out",
    "mlp.in",
    "mlp.gate",
    "mlp.out",
    "pool.attn.q",
    "pool.attn.k",
    "pool.attn.v",
    "pool.attn.out",
    "pool.mlp.in",
    "pool.mlp.out",
    "proj",
    "projector.in",
    "projector.out",
)
"""Roles that mean the same in every family, so that a target does too."""
ONCE: tuple[Role, ...] = ("proj", "projector.in", "projector.out")
"""Roles that a tower has once, so that their names need no layer."""


@dataclass(frozen=True, order=True)
class Site:
    """One linear map of one tower.

    `module` is the live module whose input is the site's input; `key` is the checkpoint's tensor.
    They differ where a checkpoint renames modules, and where one tensor holds several maps.
    `shape` is [O, I]. `rows` are the site's rows in a fused tensor (q, k, v in one), and in its bias, unless that is of
    O elements: the site's own. `transposed` says that the tensor is stored [I, O]. The role "tensor" is for the targets
    `all`, `text:all` and `vision:all`: any floating tensor, seen as a matrix. `pooled` says that its input is one token
    per sample, which has no spread over tokens.

    Roles: those of transformer blocks (`mlp.gate` is a gated MLP's second input map); `pool.*` of an attention
    pooling head, whose query is learned; `proj` to the space that both modalities share; `projector.*` from a vision
    tower into a language model. A map that is none of these has a role of the adapter's own, any text without colons,
    brackets and blanks.
    """

    tower: Tower
    layer: int
    role: Role
    module: str
    key: str
    shape: tuple[int, int]
    rows: tuple[int, int] | None = None
    transposed: bool = False
    bias: str | None = None
    pooled: bool = False

    @property
    def name(self) -> str:
        """The site as a target that matches it alone: `vision:mlp.out[3]`."""
        if self.role == "tensor":
            return self.key
        return f"{self.tower}:{self.role}" + ("" if self.role in ONCE else f"[{self.layer}]")

    @property
    def size(self) -> int:
        """How many weights the site has."""
        return self.shape[0] * self.shape[1]


def towers_of(sites: Sequence[Site]) -> tuple[Tower, ...]:
    """Return the towers that a model has, or that some of its sites belong to."""
    return tuple(tower for tower in TOWERS if any(site.tower == tower for site in sites))


_TARGET = re.compile(r"(?P<tower>[^:\[\]\s]+):(?P<role>[^:\[\]\s]+)(\[(?P<index>-?\d+|(-?\d+)?:(-?\d+)?)\])?")


@dataclass(frozen=True)
class Target:
    """A pattern over sites: `tower:role`, each with wildcards, and layers as in a Python index."""

    text: str
    tower: str
    role: str
    layers: slice | int | None

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `text:attn.out`, `vision:mlp.out[12:24]`, `vision:attn.*[-1]` or `*:mlp.out`.

        Raises:
            SiteError: the text is no target, or names a tower that does not exist.
        """
        match = _TARGET.fullmatch(text.strip())
        form = "Write TOWER:ROLE or TOWER:ROLE[FIRST:LAST], for example text:attn.out or vision:mlp.out[12:24]."
        if match is None:
            raise SiteError(f"Target '{text}' cannot be read.", form)
        if not any(fnmatchcase(tower, match["tower"]) for tower in TOWERS):
            raise SiteError(
                f"Target '{text}' names no site: '{match['tower']}' is none of {', '.join(TOWERS)}."
                + did_you_mean(match["tower"], TOWERS),
                form,
            )
        return cls(text.strip(), match["tower"], match["role"], _layers(match["index"]))

    def select(self, sites: Sequence[Site]) -> list[Site]:
        """Return the sites that match. Layers count from the tower's first, negative ones from its last."""
        found = [s for s in sites if fnmatchcase(s.tower, self.tower) and fnmatchcase(s.role, self.role)]
        if self.layers is None:
            return found
        depth = {tower: 1 + max((s.layer for s in sites if s.tower == tower), default=-1) for tower in TOWERS}
        return [site for site in found if site.layer in _positions(self.layers, depth[site.tower])]


def _layers(index: str | None) -> slice | int | None:
    if index is None:
        return None
    if ":" not in index:
        return int(index)
    first, last = index.split(":")
    return slice(int(first) if first else None, int(last) if last else None)


def _positions(layers: slice | int, depth: int) -> range:
    if isinstance(layers, slice):
        return range(*layers.indices(depth))
    position = layers + depth if layers < 0 else layers
    return range(position, position + 1)


def match_targets(targets: Sequence[str], sites: Sequence[Site]) -> list[Site]:
    """Return the sites that any of `targets` names, in the model's order, each once.

    Raises:
        SiteError: no target is given, or one of them matches nothing in this model.
    """
    if not targets:
        raise SiteError("No target is given, so nothing would be edited.", "Add --target text:attn.out, for example.")
    chosen: set[Site] = set()
    for text in targets:
        found = Target.parse(text).select(sites)
        if not found:
            offered = sorted({f"{site.tower}:{site.role}" for site in sites})
            raise SiteError(
                f"Target '{text}' matches no site of this model.{did_you_mean(text, offered)}",
                f"This model has: {_offer(sites)}.",
            )
        chosen.update(found)
    return [site for site in sites if site in chosen]


def _offer(sites: Sequence[Site]) -> str:
    count: dict[str, int] = {}
    for site in sites:
        count[f"{site.tower}:{site.role}"] = count.get(f"{site.tower}:{site.role}", 0) + 1
    return ", ".join(f"{name} ({number})" for name, number in count.items())


WHOLE: Mapping[str, tuple[Tower, ...]] = {"all": TOWERS, "text:all": ("text",), "vision:all": ("vision",)}
"""The targets that name every floating tensor, of a checkpoint or of one tower, and the towers that they edit."""


def is_whole(targets: Sequence[str]) -> bool:
    """Return whether targets name whole tensors, not linear maps."""
    return bool(targets) and set(targets) <= WHOLE.keys()
