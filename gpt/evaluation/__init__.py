"""What a trained model is worth. In the order to read:

- `score.py`  the probability of a text
"""
