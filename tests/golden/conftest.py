"""Keep pytest out of the scripts that make the goldens: they import torch, which the suite does without."""

collect_ignore_glob = ["make_*.py"]
