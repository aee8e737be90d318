"""What is evaluated on: the items of the recipe's data set, and the labelled images and queries beside tuples."""

from __future__ import annotations

from dataclasses import replace

from editkit.components.host import Host
from editkit.components.specs import DatasetSpec, EvalSpec
from editkit.data.classes import ClassSet
from editkit.data.protocol import AnyData, Evaluated
from editkit.data.queries import QuerySet, neutral_queries
from editkit.data.tuples import TupleSet
from editkit.data.zeroshot.sets import ClassSets
from editkit.errors import DataError, RecipeError
from editkit.recipes.recipe import Recipe, default_split

KINDS = {
    "tuples": "tuples of safe and unsafe items",
    "classes": "labelled images",
    "queries": "queries, which go with tuples (--queries)",
}


def load_items(spec: EvalSpec, recipe: Recipe) -> Evaluated:
    """Load the recipe's data set and draw what is to be evaluated: whole tuples, or labelled images.

    Raises:
        EditkitError: it cannot be loaded, or holds nothing that the evaluation could use.
    """
    chosen = recipe.calibration
    data: AnyData = recipe.data.build().load(chosen.split)
    content = "tuples" if isinstance(data, TupleSet) else "queries" if isinstance(data, QuerySet) else "classes"
    if content != spec.data or isinstance(data, QuerySet):
        raise RecipeError(
            f"`{spec.name}` evaluates {KINDS[spec.data]}, but data set '{recipe.data.name}' holds {KINDS[content]}.",
            f"Give --data {'visu:FOLDER or pairs:FILE' if spec.data == 'tuples' else 'classes:FILE or zeroshot:DIR'}",
        )
    if isinstance(data, TupleSet):
        return data.whole().select(chosen.concepts, chosen.limit, chosen.per_concept, chosen.seed)
    if chosen.concepts or chosen.per_concept:
        raise RecipeError(
            f"Data set '{recipe.data.name}' has classes, not concepts to choose from.",
            "Leave out --concepts; --limit draws from all classes.",
        )
    if data.split != chosen.split and recipe.origins["calibration.split"] not in ("default", "data set"):
        raise RecipeError(
            f"Data set '{recipe.data.name}' has no splits, so '{chosen.split}' cannot be chosen.",
            "Leave out --split, or write {split} into the path of a set's YAML file.",
        )
    return data.select(chosen.limit, chosen.seed)


def knowledge_set(recipe: Recipe, asked: str | None, host: Host) -> ClassSet | None:
    """Load the labelled images that stand beside tuples: those asked for, else those that the data set names.

    Raises:
        EditkitError: they cannot be loaded.
    """
    name = asked
    if name is None:
        name = recipe.data.spec.knowledge if isinstance(recipe.data.spec, DatasetSpec) else ""
    if not name or name == "none":
        return None
    return class_set(name, host, recipe.calibration.limit, recipe.calibration.seed)


def query_set(recipe: Recipe, asked: str | None, knowledge: ClassSet | None, host: Host) -> QuerySet | None:
    """Load the queries that search tuples: those asked for, else those that the data set names, else the prompts of the
    labelled images, one a class, as neutral queries.

    Raises:
        EditkitError: they cannot be loaded.
    """
    name = asked
    if name is None:
        name = recipe.data.spec.queries if isinstance(recipe.data.spec, DatasetSpec) else ""
    if name == "none":
        return None
    if name:
        data = load_companion(name, host, "queries")
        if not isinstance(data, QuerySet):
            raise RecipeError(f"--queries {name} holds no queries.", "Give --queries queries:FILE")
        return data.select(recipe.calibration.limit, recipe.calibration.seed)
    if knowledge is None:
        return None
    return neutral_queries(f"prompts of {knowledge.name}", replace(knowledge, ensemble=()).prompts())


def slice_set(recipe: Recipe, data: TupleSet, asked: str | None, host: Host) -> TupleSet:
    """Load the tuples whose slices are measured: those asked for, else the data's own, else those that the data set
    names; of each slice at most as many as `--limit` says.

    Raises:
        RecipeError: there are no slices.
        EditkitError: they cannot be loaded.
    """
    if asked is None and data.slices:
        return data
    name = asked
    if name is None:
        name = recipe.data.spec.slices if isinstance(recipe.data.spec, DatasetSpec) else ""
    if name in ("", "none"):
        raise RecipeError(
            f"No tuple of {data.name} is in a slice, and no other data with slices are named.",
            "Give --slices pairs:FILE, a table of tuples with a column slice.",
        )
    found = load_companion(name, host, "slices")
    if not isinstance(found, TupleSet) or not found.slices:
        lacks = "tuples in slices" if isinstance(found, TupleSet) else "tuples"
        raise RecipeError(f"--slices {name} holds no {lacks}.", "Give --slices pairs:FILE with a column slice.")
    whole, chosen = found.whole(), recipe.calibration
    parts = [replace(whole, items=tuple(i for i in whole.items if i.slice == part)) for part in whole.slices]
    drawn = [part.select(limit=chosen.limit, seed=chosen.seed) for part in parts]
    return replace(whole, items=tuple(item for part in drawn for item in part.items))


def benign_sets(recipe: Recipe, asked: str | None, host: Host) -> list[ClassSet]:
    """Load the sets of labelled benign images: those asked for, a,b or "none"; else those that the data set names.

    Raises:
        EditkitError: one cannot be loaded.
    """
    names = recipe.data.spec.benign if isinstance(recipe.data.spec, DatasetSpec) else ()
    if asked is not None:
        names = () if asked == "none" else tuple(name.strip() for name in asked.split(","))
    chosen = recipe.calibration
    return [class_set(name, host, chosen.limit, chosen.seed, "benign-sets") for name in names]


def safe_items(recipe: Recipe, evaluated: TupleSet, limit: int) -> TupleSet | None:
    """Load at most `limit` of the tuples that edits are fitted to; None: the data set has no other split than the one
    that is evaluated."""
    split = default_split(recipe.data, "edit")["calibration.split"]
    if split == evaluated.split:
        return None
    try:
        found = recipe.data.build().load(split)
    except DataError:
        return None
    if not isinstance(found, TupleSet) or found.split == evaluated.split:
        return None
    return found.whole().select(limit=limit, seed=recipe.calibration.seed)


def load_companion(name: str, host: Host, what: str) -> AnyData:
    """Load data that go with tuples, NAME or NAME:PATH, in the split that evaluations use."""
    component, _, path = name.partition(":")
    choice = host.choose(DatasetSpec, component, {"path": path} if path else {}, what)
    data: AnyData = choice.build().load(default_split(choice, "eval")["calibration.split"])
    return data


def class_set(name: str, host: Host, limit: int | None = None, seed: int = 0, flag: str = "knowledge") -> ClassSet:
    """Load a set of labelled images, NAME or NAME:PATH, and draw at most `limit` of them.

    Args:
        flag: by which it was asked for.

    Raises:
        EditkitError: it cannot be loaded, or holds no labelled images.
    """
    data = load_companion(name, host, flag)
    if not isinstance(data, ClassSet):
        lacks = "several sets, not one" if isinstance(data, ClassSets) else "no labelled images"
        raise RecipeError(f"--{flag} {name} holds {lacks}.", f"Give --{flag} classes:FILE.yaml")
    return data.select(limit, seed)
