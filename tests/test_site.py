"""Targets: how they are read, which sites they name, and what is said when they name none."""

from __future__ import annotations

import pytest

from editkit.components.site import ONCE, ROLES, Role, Site, Target, Tower, match_targets
from editkit.errors import SiteError

DEPTH: dict[Tower, int] = {"text": 4, "vision": 6}


def sites() -> list[Site]:
    made = []
    for tower, depth in DEPTH.items():
        for layer in range(depth):
            made += [
                Site(tower, layer, role, "m", f"{tower}.{layer}.{role}", (2, 3)) for role in ROLES if role not in ONCE
            ]
        made.append(Site(tower, depth - 1, "proj", "p", f"{tower}.proj", (2, 3)))
    return made


def named(*targets: str) -> list[str]:
    return [site.name for site in match_targets(targets, sites())]


def layers(target: str) -> list[int]:
    return [site.layer for site in match_targets([target], sites())]


@pytest.mark.parametrize(
    ("text", "tower", "role", "index"),
    [
        ("text:attn.out", "text", "attn.out", None),
        ("  vision:mlp.out ", "vision", "mlp.out", None),
        ("vision:mlp.out[3]", "vision", "mlp.out", 3),
        ("vision:mlp.out[-1]", "vision", "mlp.out", -1),
        ("vision:mlp.out[12:24]", "vision", "mlp.out", slice(12, 24)),
        ("vision:mlp.out[:2]", "vision", "mlp.out", slice(None, 2)),
        ("vision:mlp.out[2:]", "vision", "mlp.out", slice(2, None)),
        ("vision:mlp.out[:]", "vision", "mlp.out", slice(None, None)),
        ("vision:mlp.out[-2:]", "vision", "mlp.out", slice(-2, None)),
        ("vision:mlp.out[-3:-1]", "vision", "mlp.out", slice(-3, -1)),
        ("*:attn.*", "*", "attn.*", None),
        ("text:proj", "text", "proj", None),
    ],
)
def test_a_target_is_tower_role_and_layers(text: str, tower: str, role: str, index: int | slice | None) -> None:
    assert Target.parse(text) == Target(text.strip(), tower, role, index)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "text:",
        ":attn.out",
        "attn.out",
        "text:attn.out[]",
        "text:attn.out[1",
        "text:attn.out[a]",
        "text:attn.out[1:2:3]",
        "text:attn.out[1,2]",
        "text:attn.out[1.5]",
        "text:attn.out[-]",
        "text:attn.out[-:]",
        "text:attn.out[:-]",
        "text:attn.out[--1]",
        "text:attn.out[1]x",
        "text:attn:out",
        "text:attn.out [1]",
    ],
)
def test_what_is_no_target_is_an_error_that_shows_the_form(text: str) -> None:
    with pytest.raises(SiteError) as caught:
        match_targets([text], sites())
    assert str(caught.value).count("\n") == 1
    assert caught.value.remedy.startswith("Write TOWER:ROLE") or "names no site" in caught.value.problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("txt:attn.out", "'txt' is none of text, vision. Did you mean 'text'?"),
        ("image:mlp.out", "'image' is none of text, vision."),
    ],
)
def test_an_unknown_tower_is_named_with_the_closest(text: str, message: str) -> None:
    with pytest.raises(SiteError) as caught:
        Target.parse(text)
    assert message in caught.value.problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text:attn.uot", " Did you mean 'text:attn.out'?"),
        ("text:mlpout", " Did you mean 'text:mlp.out'?"),
        ("vision:self-attention", ""),
        ("text:xyz.*", ""),
    ],
)
def test_a_role_that_the_model_has_not_is_named_with_the_closest(text: str, message: str) -> None:
    with pytest.raises(SiteError) as caught:
        match_targets([text], sites())
    assert caught.value.problem.startswith(f"Target '{text}' matches no site of this model.{message}")
    assert caught.value.remedy.startswith("This model has: text:attn.q (4), ")


def test_a_role_of_the_models_own_is_matched_like_any_other() -> None:
    own = [Site("text", layer, "mixer.gate-up", "m", f"{layer}", (2, 3)) for layer in range(3)]
    assert match_targets(["text:mixer.*[1:]"], [*sites(), *own]) == own[1:]
    assert match_targets([own[0].name], [*sites(), *own]) == own[:1]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("vision:mlp.out", [0, 1, 2, 3, 4, 5]),
        ("vision:mlp.out[0]", [0]),
        ("vision:mlp.out[-1]", [5]),
        ("vision:mlp.out[-6]", [0]),
        ("text:mlp.out[-1]", [3]),
        ("vision:mlp.out[2:4]", [2, 3]),
        ("vision:mlp.out[4:99]", [4, 5]),
        ("vision:mlp.out[:-4]", [0, 1]),
        ("vision:mlp.out[-2:]", [4, 5]),
        ("vision:mlp.out[:]", [0, 1, 2, 3, 4, 5]),
        ("*:mlp.out[-1]", [3, 5]),
    ],
)
def test_layers_count_as_in_a_python_index(target: str, expected: list[int]) -> None:
    assert layers(target) == expected


def test_wildcards_stand_for_roles_and_towers() -> None:
    assert named("text:attn.*[0]") == [f"text:attn.{part}[0]" for part in ("q", "k", "v", "out")]
    assert named("*:proj") == ["text:proj", "vision:proj"]
    assert len(named("*:*")) == len(sites())


def test_sites_come_in_the_models_order_each_once() -> None:
    found = named("vision:mlp.out[1]", "text:attn.out[0]", "vision:mlp.*[1]", "text:attn.out[0]")
    assert found == ["text:attn.out[0]", "vision:mlp.in[1]", "vision:mlp.gate[1]", "vision:mlp.out[1]"]


def test_a_sites_name_is_a_target_that_matches_it_alone() -> None:
    for site in sites():
        assert match_targets([site.name], sites()) == [site]


@pytest.mark.parametrize(
    "target", ["vision:mlp.out[6]", "vision:mlp.out[-7]", "vision:mlp.out[4:2]", "text:mlp.in[9:]"]
)
def test_layers_that_do_not_exist_are_an_error_and_not_nothing(target: str) -> None:
    with pytest.raises(SiteError) as caught:
        named("text:attn.out", target)
    assert caught.value.problem.startswith(f"Target '{target}' matches no site of this model.")
    assert "vision:mlp.out (6)" in caught.value.remedy
    assert "text:mlp.in (4)" in caught.value.remedy


def test_a_role_that_this_model_lacks_is_an_error_that_lists_what_it_has() -> None:
    role: Role = "mlp.out"
    only = [Site("vision", layer, role, "m", f"{layer}", (2, 3)) for layer in range(3)]
    with pytest.raises(SiteError) as caught:
        match_targets(["vision:mlp.in"], only)
    assert "Did you mean 'vision:mlp.out'?" in caught.value.problem
    assert caught.value.remedy == "This model has: vision:mlp.out (3)."


def test_no_target_is_an_error() -> None:
    with pytest.raises(SiteError, match="No target is given"):
        match_targets([], sites())


def test_a_site_counts_its_weights() -> None:
    assert Site("text", 0, "mlp.out", "m", "k", (768, 3072)).size == 768 * 3072


def test_the_adapters_sites_of_the_reference_model(clip_sites: list[Site]) -> None:
    assert len(clip_sites) == 2 * (2 * 6 + 1)
    shapes = {site.name: site.shape for site in clip_sites}
    assert shapes["text:attn.out[1]"] == (64, 64)
    assert shapes["vision:mlp.out[0]"] == (64, 128)
    assert shapes["vision:mlp.in[0]"] == (128, 64)
    assert shapes["text:proj"] == (32, 64)
    assert len({site.key for site in clip_sites}) == len(clip_sites)
    assert all(site.bias == site.key.replace("weight", "bias") for site in clip_sites if site.role != "proj")
