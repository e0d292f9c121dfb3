"""The tape player: a traced computation as one HTML page on which its backward is stepped, op by op.

html.py      what every page shares: the document, escaped text, numbers, tinted tables
drawing.py   the SVG of the computation
page.py      graph: the page, one section per step
"""

from nanograd.inspect.player.page import graph as graph
