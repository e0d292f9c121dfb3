"""Tools that observe a computation (nanograd.op.Observer), in the order in which to read them.

anomaly finds the first NaN and overwritten arrays, profiler measures saved bytes and times, trace records every op,
explain splits a gradient into its terms, and player shows a trace in the browser.
"""
