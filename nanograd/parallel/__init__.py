"""A training step in shards of the batch, which run on threads, processes or machines, with the same bits everywhere.

shards.py     the forward and the backward of one shard
replica.py    gradients, their sum, clipping and the update, on each rank: DataParallel
ranks.py      the ranks that share a step, and the order of their sums: Team
processes.py  a team of processes on this machine
mpi.py        a team of processes on several machines, under MPI
"""

from nanograd.parallel.ranks import Solo, Team
from nanograd.parallel.replica import DataParallel, loss_sum
from nanograd.parallel.shards import choose_shards, forward_backward

__all__ = ["DataParallel", "Solo", "Team", "choose_shards", "forward_backward", "loss_sum"]
