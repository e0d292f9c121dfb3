"""From documents to batches of tokens. Read in this order:

- `dataset.py`    shards of tokens on disk, and the folder of a prepared dataset
- `documents.py`  documents split into training and validation, cut into chunks, encoded
- `prepare.py`    from text files to a dataset, resumable at any moment
- `batches.py`    which windows of the tokens a training step sees
"""
