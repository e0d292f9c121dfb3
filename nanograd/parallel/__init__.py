"""A training step in shards of the batch: each shard is a forward and a backward, and shards run in parallel."""

from nanograd.parallel.shards import backward, choose_shards, gradients
from nanograd.runtime.threads import run

__all__ = ["backward", "choose_shards", "gradients", "run"]
