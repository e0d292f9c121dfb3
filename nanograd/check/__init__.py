"""Checking a backward: against finite differences, against the contract of an op, and with mistakes planted in it."""
