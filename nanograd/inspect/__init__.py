"""Looking at a computation while it runs: the first NaN, memory, time, the graph, and where a gradient comes from."""
