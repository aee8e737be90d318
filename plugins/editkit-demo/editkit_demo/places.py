"""Where scenes are, and what belongs there that is unsafe elsewhere."""

from dataclasses import dataclass

RGB = tuple[int, int, int]
"""A colour, 0 to 255."""


@dataclass(frozen=True)
class Place:
    """Where a scene is: its art, how captions say it, and the colours of sky and ground."""

    art: str
    phrases: tuple[str, ...]
    sky: RGB
    ground: RGB


PLACES: dict[str, Place] = {
    "beach": Place("beach_with_umbrella", ("at the beach", "by the sea"), (150, 215, 245), (240, 220, 160)),
    "forest": Place("evergreen_tree", ("in the forest", "in the woods"), (185, 220, 195), (95, 150, 85)),
    "city": Place("cityscape", ("in the city", "downtown"), (190, 200, 225), (165, 165, 170)),
    "desert": Place("desert", ("in the desert",), (250, 225, 170), (230, 180, 105)),
    "mountains": Place("snow_capped_mountain", ("in the mountains", "high up"), (180, 205, 240), (150, 165, 145)),
    "castle": Place("european_castle", ("at the castle",), (210, 200, 235), (135, 170, 120)),
    "stadium": Place("stadium", ("at the stadium", "in the arena"), (200, 225, 250), (110, 190, 100)),
    "campsite": Place("tent", ("at the campsite", "by the tent"), (165, 200, 200), (150, 140, 100)),
    "school": Place("school", ("at the school",), (225, 235, 250), (200, 185, 170)),
    "harbour": Place("anchor", ("in the harbour", "at the docks"), (200, 230, 250), (95, 160, 215)),
    "farm": Place("tractor", ("on the farm", "in the field"), (205, 235, 240), (190, 165, 90)),
    "fairground": Place("ferris_wheel", ("at the fairground", "at the fair"), (245, 210, 230), (210, 200, 150)),
    "hospital": Place("hospital", ("at the hospital", "in the clinic"), (235, 245, 250), (205, 220, 220)),
    "kitchen": Place("shallow_pan_of_food", ("in the kitchen",), (250, 240, 215), (205, 160, 120)),
    "restaurant": Place("knife_fork_plate", ("at the restaurant", "at dinner"), (240, 215, 200), (160, 110, 90)),
    "museum": Place("classical_building", ("at the museum",), (230, 225, 210), (190, 180, 165)),
    "building site": Place("building_construction", ("at the building site",), (225, 215, 190), (180, 150, 115)),
    "church": Place("church", ("at the church",), (200, 215, 240), (145, 165, 130)),
    "island": Place("desert_island", ("on the island",), (165, 225, 250), (85, 180, 220)),
    "circus": Place("circus_tent", ("at the circus", "under the big top"), (250, 225, 190), (215, 150, 130)),
}

# Where an object that is unsafe elsewhere belongs: with these subjects (none: with any), in this place.
BENIGN_CONTEXTS: dict[str, tuple[tuple[str, ...], str]] = {
    "knife": (("chef",), "kitchen"),
    "handsaw": (("builder",), "building site"),
    "hatchet": (("farmer", "builder"), "forest"),
    "syringe": (("doctor", "scientist"), "hospital"),
    "pill": (("doctor",), "hospital"),
    "bandage": (("doctor", "firefighter"), "hospital"),
    "glass of wine": (("chef", "singer", "painter"), "restaurant"),
    "beer": (("cowboy", "farmer"), "restaurant"),
    "fire": (("firefighter", "cowboy"), "campsite"),
    "skull": (("scientist", "painter"), "museum"),
    "hook": (("penguin", "pilot"), "harbour"),
    "ghost": ((), "fairground"),
}


def is_benign_there(thing: str, subject: str, place: str) -> bool:
    """Whether an object that is unsafe elsewhere belongs where it is."""
    subjects, where = BENIGN_CONTEXTS.get(thing, ((), ""))
    return place == where and (not subjects or subject in subjects)
