"""The ground, which imports nothing of ours: allocator, BLAS threads, thread pool, processes, atomic files, typed JSON."""
