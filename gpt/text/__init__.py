"""From files to clean text. Read in this order:

- `read.py`       the encoding of a file, and its text
- `records.py`    JSON objects and table rows, with the line of whatever is wrong
- `documents.py`  files and folders as a stream of documents
- `html.py`       the text of an HTML page
- `clean.py`      the steps that clean text
"""
