"""Numbers of a page that follow an edit: the op's lines as a graph of primitives, and the script that evaluates it.

Read recorded.py (NumPy code is recorded), export.py (what a page needs, as JSON), evaluator.js and page.js.
"""
