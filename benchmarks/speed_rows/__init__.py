"""The rows of `benchmarks/speed.py`, one function each."""
