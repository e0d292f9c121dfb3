"""The commands of `python -m gpt`, one file each."""
