"""The overlap of patches on the screen: of two, every common site; of more, every pair over all its sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from editkit.cli.console import write_line
from editkit.cli.table import figure, number, print_table, prose, whole
from editkit.patch.record_file import part_of, recipe_of
from editkit.patch.summary import PatchSummary

if TYPE_CHECKING:
    from editkit.patch.overlap import Overlap, PairOverlap, SiteOverlap

STRUCTURE = {"columns": ".1%", "rows": ".1%", "weight_correlation": "+.3f"}
SHARES = ("Jaccard", "chance", "times")


def overlap_as_json(pair: PairOverlap) -> dict[str, Any]:
    """Return one pair as JSON; of `columns`, `rows` and `weight_correlation`, [A's, B's], null where not recorded."""
    sites = [
        {
            "site": site.name,
            "key": site.key,
            **_counts(site.counts),
            **{name: [described.get(name) for described in site.described] for name in STRUCTURE},
        }
        for site in pair.sites
    ]
    everywhere = {"sites": len(sites), **_counts(pair.everywhere)}
    elsewhere = dict(zip("ab", pair.elsewhere, strict=True))
    return {"a": pair.names[0], "b": pair.names[1], "all": everywhere, "elsewhere": elsewhere, "sites": sites}


def _counts(counts: Overlap) -> dict[str, Any]:
    return {
        "size": counts.size,
        "a": counts.a,
        "b": counts.b,
        "intersection": counts.both,
        "expected": counts.expected,
        "jaccard": counts.jaccard,
        "chance": counts.chance,
        "times_chance": counts.times_chance,
    }


def print_overlaps(patches: Sequence[PatchSummary], pairs: Sequence[PairOverlap]) -> None:
    """Print a line per patch, then how they overlap; `pairs` are all pairs in the same order."""
    letters = [ascii_uppercase[i] if len(patches) <= len(ascii_uppercase) else str(i + 1) for i in range(len(patches))]
    rows = [(letter, str(patch.folder), _about(patch)) for letter, patch in zip(letters, patches, strict=True)]
    print_table([whole(), whole(), prose()], rows)
    write_line()
    if len(pairs) == 1:
        _print_sites(pairs[0])
    else:
        _print_pairs(list(combinations(letters, 2)), pairs)
        write_line("--json has every pair site by site.")
    write_line("Jaccard: chosen by both, of those chosen by either; chance: that of random")
    write_line("choices of as many at every site; times: Jaccard over chance.")


def _about(patch: PatchSummary) -> str:
    """Say "uwm x adaptive x scale  27 weights"."""
    method, weights = _method(patch), f"{patch.weights:,} weights"
    return f"{method}  {weights}" if method else weights


def _method(patch: PatchSummary) -> str:
    """Say "uwm x adaptive x scale"; for each tower, where the towers differ."""
    recipe, edited = recipe_of(patch.record), patch.edited_towers
    methods = {}
    for tower in edited:
        chosen = {**recipe, **part_of(recipe, tower)}
        names = [part_of(chosen, kind).get("name") for kind in ("scorer", "selector", "manipulator")]
        methods[tower] = " x ".join(str(name) for name in names if name)
    if len(set(methods.values())) == 1:
        return methods[edited[0]]
    return ", ".join(f"{tower} {method}" for tower, method in methods.items())


def _print_sites(pair: PairOverlap) -> None:
    rows = [(site.name, *_numbers(site.counts)) for site in pair.sites]
    rows.append((_number_of(pair), *_numbers(pair.everywhere)))
    print_table([whole("site"), *map(number, ("A", "B", "both", *SHARES))], rows, gap=1)
    if any(pair.elsewhere):
        a, b = pair.elsewhere
        write_line(f"Not compared, since at sites of one only: {a:,} weights of A, {b:,} of B.")
    write_line()
    _print_structure(pair.sites)


def _print_structure(sites: Sequence[SiteOverlap]) -> None:
    """Print what the records say of the choices' structure, which explains much of an overlap: a line per role."""
    groups: dict[str, list[SiteOverlap]] = {}
    for site in sites:
        told = [described for described in site.described if STRUCTURE.keys() & described.keys()]
        if told:
            groups.setdefault(f"{told[0].get('tower')}:{told[0].get('role')}", []).append(site)
    if not groups:
        return
    heads = [f"{what} {side}" for what in ("columns", "rows", "|W|") for side in "AB"]
    rows = [(role, *_structure(members)) for role, members in groups.items()]
    print_table([whole("mean over sites"), *map(number, heads)], rows)
    write_line("columns, rows: part of the choice in (nearly) whole ones; |W|: correlation with")
    write_line("size. `editkit show PATCH` has these of every site.")


def _structure(sites: Sequence[SiteOverlap]) -> list[str]:
    """Return A's and B's mean of each number, over those sites whose record has it."""
    return [figure(_mean(sites, side, name), form) for name, form in STRUCTURE.items() for side in (0, 1)]


def _mean(sites: Sequence[SiteOverlap], side: int, name: str) -> float | None:
    described: list[Mapping[str, Any]] = [site.described[side] for site in sites]
    values = [value for entry in described if isinstance(value := entry.get(name), (int, float))]
    return sum(values) / len(values) if values else None


def _print_pairs(labels: Sequence[tuple[str, str]], pairs: Sequence[PairOverlap]) -> None:
    rows = [
        (" ".join(label), _number_of(pair), *_numbers(pair.everywhere))
        for label, pair in zip(labels, pairs, strict=True)
    ]
    print_table([whole("pair"), *map(number, ("", "first", "second", "both", *SHARES))], rows, gap=1)


def _number_of(pair: PairOverlap) -> str:
    return f"{len(pair.sites)} site{'' if len(pair.sites) == 1 else 's'}"


def _numbers(counts: Overlap) -> list[str]:
    chosen = [f"{number:,}" for number in (counts.a, counts.b, counts.both)]
    times = counts.times_chance
    form = ".2f" if times is None or times < 1000 else ".0f" if times < 100_000 else ".0e"
    return [*chosen, figure(counts.jaccard, ".2%"), figure(counts.chance, ".2%"), figure(times, form)]
