"""Pages about what is not an op. Each module has topic(), which has page(linked=…) and text().

chain_rule.py      page 0: derivatives, the chain rule, arrays
parts.py           what a page is made of, as HTML and as text     chart.py      curves that the script can redraw
lines.py           the numbered lines of a derivation that is not an op's, evaluated
topics.js          reads the inputs of a page and rewrites its tables and curves; the file named after a topic computes
adamw.py           one step of AdamW, and the steps after it
muon.py            the polar factor of a gradient, and the polynomial that comes near it
clipping.py        the global norm of a gradient, and its limit
initialisation.py  the size of activations through many layers
schedule.py        the learning rate of every step
"""

TOPICS = {
    "chain_rule": "from one number to arrays",
    "adamw": "the steps of AdamW, number by number",
    "muon": "an update in which all directions count the same",
    "clipping": "the global norm of a gradient, and its limit",
    "initialisation": "the size of activations through many layers",
    "schedule": "linear warmup and cosine decay of the learning rate",
}
