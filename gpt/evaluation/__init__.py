"""What a trained model is worth. In the order to read:

- `score.py`       the probability of a text
- `tasks.py`       items with a right answer, from a file
- `likelihood.py`  the choice that a model finds most probable; means and standard errors
- `battery.py`     items made from templates, for small models
- `report.py`      tables and a page that compares models
"""
