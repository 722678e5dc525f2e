"""Offline generation: N records into a file, by as many attempts as that takes.

An attempt depends on the model, the options, the seed and its number alone; the result is the first N
attempts, in order of their numbers, that pass and are distinct. So neither the batch nor an interruption
nor the division among machines changes a byte of it.
"""
