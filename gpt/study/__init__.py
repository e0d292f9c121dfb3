"""Pages on a model of one's own, and on what a GPT does besides its ops.

example.py         one training example, forward and backward, with the attention of its heads
tiny.py            a model small enough that its page shows every number
merges.py          byte-pair merges, one by one
sampling.py        temperature, top-k, top-p and min-p on one distribution
cache.py           the key-value cache: what is computed with and without it
"""
