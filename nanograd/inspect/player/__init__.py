"""The tape player: a traced computation as one HTML page on which its forward and its backward are stepped, op by op.

html.py          what every page shares: the document, escaped text, numbers, tinted tables
drawing.py       the SVG of the computation
tables.py        arrays as tables, whole or as their corner
explanations.py  the local derivatives from which the page explains a number
steps.py         one section per step
page.py          graph: the page
"""

from nanograd.inspect.player.page import graph as graph
