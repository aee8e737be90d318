"""The overlap of patches on the screen: of two, every common site; of more, every pair over all its sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from editkit.cli.console import cell, write_line
from editkit.patch.record_file import part_of, recipe_of

if TYPE_CHECKING:
    from editkit.patch.overlap import Overlap, PairOverlap, SiteOverlap

STRUCTURE = {"columns": ".1%", "rows": ".1%", "weight_correlation": "+.3f"}
SHARES = f"{'Jaccard':>8}{'chance':>8}{'times':>7}"


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


def print_overlaps(patches: Sequence[Mapping[str, Any]], pairs: Sequence[PairOverlap]) -> None:
    """Print a line per patch and the overlap; `patches` are summaries, `pairs` all pairs in the same order."""
    letters = [ascii_uppercase[i] if len(patches) <= len(ascii_uppercase) else str(i + 1) for i in range(len(patches))]
    wide = max(len(patch["patch"]) for patch in patches)
    for letter, patch in zip(letters, patches, strict=True):
        facts = (f"{letter}  {patch['patch']:<{wide}}", _method(patch), f"{patch['weights']:,} weights")
        write_line("  ".join(fact for fact in facts if fact))
    write_line()
    if len(pairs) == 1:
        _print_sites(pairs[0])
    else:
        _print_pairs(list(combinations(letters, 2)), pairs)
        write_line("  --json has every pair site by site.")
    write_line("  Jaccard: chosen by both, of those chosen by either; chance: that of random")
    write_line("  choices of as many at every site; times: Jaccard over chance.")


def _method(patch: Mapping[str, Any]) -> str:
    """Say "uwm x adaptive x scale"; for each tower, where the towers differ."""
    recipe, edited = recipe_of(patch), part_of(patch, "towers").get("edited") or ("text", "vision")
    methods = {}
    for tower in edited:
        chosen = {**recipe, **part_of(recipe, tower)}
        names = [part_of(chosen, kind).get("name") for kind in ("scorer", "selector", "manipulator")]
        methods[tower] = " x ".join(str(name) for name in names if name)
    if len(set(methods.values())) == 1:
        return methods[edited[0]]
    return ", ".join(f"{tower} {method}" for tower, method in methods.items())


def _print_sites(pair: PairOverlap) -> None:
    write_line(f"  {'site':<19}{'A':>12}{'B':>12}{'both':>12}{SHARES}")
    for site in pair.sites:
        write_line(f"  {site.name:<19}{_numbers(site.counts)}")
    write_line(f"  {_number_of(pair):<19}{_numbers(pair.everywhere)}")
    if any(pair.elsewhere):
        a, b = pair.elsewhere
        write_line(f"  Not compared, since at sites of one only: {a:,} weights of A, {b:,} of B.")
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
    write_line(f"  {'mean over sites':<19}{'in whole columns':>19}{'in whole rows':>19}{'with |W|':>19}")
    write_line(f"  {'':<19}" + f"{'A':>10}{'B':>9}" * 3)
    for role, members in groups.items():
        write_line(f"  {role:<19}{''.join(_mean(members, name, form) for name, form in STRUCTURE.items())}")
    write_line("  in whole columns, rows: part of the choice in (nearly) whole ones; with |W|:")
    write_line("  correlation with size. `editkit show PATCH` has these of every site.")


def _mean(sites: Sequence[SiteOverlap], name: str, form: str) -> str:
    """A's and B's mean of one number, over those sites whose record has it."""
    cells = ""
    for side, width in ((0, 10), (1, 9)):
        values = [value for site in sites if isinstance(value := site.described[side].get(name), (int, float))]
        cells += cell(sum(values) / len(values) if values else None, form, width)
    return cells


def _print_pairs(labels: Sequence[tuple[str, str]], pairs: Sequence[PairOverlap]) -> None:
    write_line(f"  {'pair':<8}{'':>10}{'first':>12}{'second':>12}{'both':>12}{SHARES}")
    for label, pair in zip(labels, pairs, strict=True):
        write_line(f"  {' '.join(label):<8}{_number_of(pair):>10}{_numbers(pair.everywhere)}")


def _number_of(pair: PairOverlap) -> str:
    return f"{len(pair.sites)} site{'' if len(pair.sites) == 1 else 's'}"


def _numbers(counts: Overlap) -> str:
    chosen = "".join(f"{number:>12,}" for number in (counts.a, counts.b, counts.both))
    shares = "".join(cell(share, ".2%", 8) for share in (counts.jaccard, counts.chance))
    times = counts.times_chance
    form = ".2f" if times is None or times < 1000 else ".0f" if times < 100_000 else ".0e"
    return f"{chosen}{shares}{cell(times, form, 7)}"
