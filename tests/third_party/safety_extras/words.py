"""`words`: a text is unsafe if one of a list of words is in it."""

from hashlib import sha256

from editkit.plugin import ignore, labelled


class Words:
    """Looks for words; asks nobody."""

    prompt_hash = ""

    def __init__(self, options):
        self.words = {word.lower() for word in options.words}

    @property
    def revision(self):
        """A digest of the list."""
        return f"words {sha256(' '.join(sorted(self.words)).encode()).hexdigest()[:12]}"

    def judge(self, items, on_item=ignore, *, ids=None):
        """Return one verdict per text."""
        verdicts = []
        for text in items:
            found = sorted(self.words & {word.strip(".,;!?").lower() for word in text.split()})
            verdicts.append(labelled(", ".join(found), unsafe=bool(found)))
            on_item(1)
        return verdicts
