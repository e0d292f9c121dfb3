"""Pages on a model of one's own.

example.py         one training example, forward and backward, with the attention of its heads
tiny.py            a model so small that its page shows every number
"""
