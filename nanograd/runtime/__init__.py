"""The ground, which imports nothing of ours: the allocator, BLAS threads, a thread pool, worker processes, atomic files."""
