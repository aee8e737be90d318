"""`twin-folders`: safe/NAME.jpg and unsafe/NAME.jpg, with their captions in captions.csv."""

import csv

from editkit.plugin import DataError, Item, LeftOut, TupleSet


class TwinFolders:
    """Tuples from two folders of images whose files have the same names."""

    def __init__(self, options):
        self.options = options
        self.folder = options.path.expanduser()

    def load(self, split):
        """Read all tuples; there are no splits."""
        table = self.folder / "captions.csv"
        if not table.is_file():
            raise DataError(f"There is no {table}.", "Give the folder that holds it: --data twin-folders:FOLDER")
        items, left_out = [], []
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                images = [self.folder / side / f"{row['name']}.jpg" for side in ("safe", "unsafe")]
                if all(image.is_file() for image in images):
                    items.append(Item(row["name"], *images, row["safe"], row["unsafe"], row.get("concept") or "all"))
                elif self.options.on_bad_item == "error":
                    raise DataError(f"'{row['name']}' lacks an image.", "Add it, or give --on-bad-item skip.")
                else:
                    left_out.append(LeftOut(row["name"], "an image is missing"))
        return TupleSet(f"twin-folders:{self.folder.name}", split, tuple(items), tuple(left_out))
