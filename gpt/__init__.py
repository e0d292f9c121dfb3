"""A GPT from raw text to written text, on the nanograd engine."""
