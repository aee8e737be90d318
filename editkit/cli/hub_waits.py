"""What huggingface_hub says while it asks the hub again, for half a minute or as long as the hub wants: a line a wait.

Its own lines name every file and its address, twice.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

LOGGERS = ("huggingface_hub.utils._http", "huggingface_hub.file_download")
REASON = re.compile(
    r"(?P<status>HTTP Error \d+|'.+') thrown while requesting|Error while downloading from \S+ (?P<broken>.+)"
)
WAIT = re.compile(r"(Retrying in|Rate limited|Trying to resume).*")


class Waits(logging.Filter):
    """Turns a logger's lines about waiting into notes; whatever else it says is left to the library."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note
        self.reason = ""
        self.told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the library is to print a record itself."""
        lines = record.getMessage().splitlines()
        known = False
        for line in lines:
            if found := REASON.match(line):
                self.reason, known = (found["status"] or found["broken"]).rstrip("."), True
            elif found := WAIT.match(line):
                self._tell(found[0])
                known = True
        return not known

    def _tell(self, wait: str) -> None:
        said = f"The hub has trouble ({self.reason}). {wait}"
        if said not in self.told:  # one for all the files that are asked for at once
            self.told.add(said)
            self.note(said)


def tell_waits(note: Callable[[str], None]) -> None:
    """Tell of waits by `note` from here on, each of them once."""
    waits = Waits(note)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        for earlier in [one for one in logger.filters if isinstance(one, Waits)]:
            logger.removeFilter(earlier)
        logger.addFilter(waits)
