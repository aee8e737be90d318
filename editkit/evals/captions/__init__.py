"""Captions of a model and of edits of it: made in batches, so that a run can be continued, compared, judged, reported.

| module | what |
|---|---|
| `options` | what can be set |
| `plan` | which image is in which batch, the batch's seed, and everything that decides a caption |
| `file` | the file of captions, which only ever grows |
| `run` | the model's own generation, batch by batch |
| `metrics` | ROUGE-L, BLEU, METEOR and CIDEr by libraries, and what chance would score |
| `evaluation`, `assembly`, `report`, `table` | all of it together, as one report and on the screen |
"""
