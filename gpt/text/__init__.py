"""Files → documents → clean text."""
