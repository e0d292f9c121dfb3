"""The ground: the allocator, BLAS threads, a thread pool, worker processes and atomic files. Nothing here imports ours."""
