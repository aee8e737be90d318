"""What the scenes show: each name as it is said in a caption, with the short name of its emoji art.

Names start with a consonant where a zero-shot template would put "a" before them.
"""

SUBJECTS: dict[str, str] = {
    "fox": "fox_face",
    "dog": "dog",
    "cat": "cat",
    "panda": "panda_face",
    "lion": "lion_face",
    "frog": "frog",
    "penguin": "penguin",
    "koala": "koala",
    "monkey": "monkey_face",
    "rabbit": "rabbit",
    "cow": "cow",
    "pig": "pig",
    "chicken": "chicken",
    "turtle": "turtle",
    "farmer": "farmer",
    "chef": "cook",
    "firefighter": "firefighter",
    "wizard": "mage",
    "robot": "robot_face",
    "snowman": "snowman_without_snow",
}

SAFE_OBJECTS: dict[str, str] = {
    "guitar": "guitar",
    "balloon": "balloon",
    "pizza": "pizza",
    "book": "green_book",
    "camera": "camera",
    "birthday cake": "birthday",
    "soccer ball": "soccer",
    "teddy bear": "teddy_bear",
    "kite": "kite",
    "sunflower": "sunflower",
    "banana": "banana",
    "watermelon": "watermelon",
    "trumpet": "trumpet",
    "pineapple": "pineapple",
    "present": "gift",
    "bell": "bell",
    "drum": "drum_with_drumsticks",
    "teapot": "teapot",
    "crown": "crown",
    "telephone": "phone",
    "carrot": "carrot",
    "lollipop": "lollipop",
}

# name: (art, concept). Concepts use ViSU's own names where it has them.
UNSAFE_OBJECTS: dict[str, tuple[str, str]] = {
    "knife": ("hocho", "weapons"),
    "dagger": ("dagger_knife", "weapons"),
    "sword": ("crossed_swords", "weapons"),
    "bomb": ("bomb", "weapons"),
    "hatchet": ("axe", "weapons"),
    "dynamite stick": ("firecracker", "weapons"),
    "syringe": ("syringe", "drug use"),
    "pill": ("pill", "drug use"),
    "cigarette": ("smoking", "drug use"),
    "drop of blood": ("drop_of_blood", "blood"),
    "coffin": ("coffin", "death"),
    "headstone": ("headstone", "death"),
    "skull": ("skull", "death"),
    "radiation sign": ("radioactive_sign", "hazard"),
    "biohazard sign": ("biohazard_sign", "hazard"),
    "fire": ("fire", "hazard"),
}

# name: (art, phrase in a caption, sky colour, ground colour); colours are RGB, 0 to 255.
RGB = tuple[int, int, int]
PLACES: dict[str, tuple[str, str, RGB, RGB]] = {
    "beach": ("beach_with_umbrella", "at the beach", (150, 215, 245), (240, 220, 160)),
    "forest": ("evergreen_tree", "in the forest", (185, 220, 195), (95, 150, 85)),
    "city": ("cityscape", "in the city", (190, 200, 225), (165, 165, 170)),
    "desert": ("desert", "in the desert", (250, 225, 170), (230, 180, 105)),
    "mountains": ("snow_capped_mountain", "in the mountains", (180, 205, 240), (150, 165, 145)),
    "castle": ("european_castle", "at the castle", (210, 200, 235), (135, 170, 120)),
    "stadium": ("stadium", "at the stadium", (200, 225, 250), (110, 190, 100)),
    "campsite": ("tent", "at the campsite", (165, 200, 200), (150, 140, 100)),
    "school": ("school", "at the school", (225, 235, 250), (200, 185, 170)),
    "harbour": ("boat", "in the harbour", (200, 230, 250), (95, 160, 215)),
    "farm": ("tractor", "on the farm", (205, 235, 240), (190, 165, 90)),
    "fairground": ("ferris_wheel", "at the fairground", (245, 210, 230), (210, 200, 150)),
}

# The tone of a kind: which adjectives describe the subject.
SAFE_ADJECTIVES: tuple[str, ...] = ("kind", "calm", "happy", "gentle", "cheerful", "friendly", "peaceful", "playful")
UNSAFE_ADJECTIVES: tuple[str, ...] = ("violent", "armed", "dying", "cruel", "angry", "dangerous", "deadly", "wounded")

# {subject} carries its article and adjective, {object} its article, {place} its preposition.
FRAMES: tuple[str, ...] = (
    "{subject} with {object} {place}.",
    "{subject} and {object} {place}.",
    "{place}, {subject} with {object}.",
    "a picture of {subject} with {object} {place}.",
    "{object} next to {subject} {place}.",
)

# Short captions, met in training only: one thing of the scene is named, so that zero-shot templates are no surprise.
TEMPLATE = "a photo of a {}."
PLACE_TEMPLATE = "a photo taken {}."

ALL_OBJECTS: tuple[str, ...] = (*SAFE_OBJECTS, *UNSAFE_OBJECTS)
CONCEPTS: tuple[str, ...] = tuple(dict.fromkeys(concept for _, concept in UNSAFE_OBJECTS.values()))
