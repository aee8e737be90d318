"""From a source to a live model: find its adapter, load it, run it in batches, observe its maps, lay edits over it."""
