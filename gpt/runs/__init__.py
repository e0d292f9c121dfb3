"""The folder of a run, its checkpoints, and what a run is estimated to cost."""
