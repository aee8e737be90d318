"""Keep model libraries from drawing bars and printing advice between editkit's own lines."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries() -> None:
    """Silence what says nothing a user of the command line can act on; errors still raise."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # or it warns in every forked worker
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    logging.getLogger("open_clip").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning)
