"""The notation of the docstrings' numbered lines: a tree, its parser, and three ways to write it."""
