"""Captions of a model and of edits of it: made in batches that can be taken up again, compared, judged and reported.

| module | what |
|---|---|
| `plan` | which image is in which batch, and the batch's seed: fixed before anything is read |
| `settings`, `file` | what captions depend on, and the file of captions, gone on with where it ends |
| `run` | the model's own generation, batch by batch |
| `metrics`, `measures`, `scores` | ROUGE-L, BLEU, METEOR and CIDEr by libraries; intervals, changes, chance |
| `judging` | judges of captions |
| `evaluation`, `assembly`, `report`, `table` | all of it together, as one object and on the screen |
"""
