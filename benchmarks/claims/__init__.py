"""Claims: one experiment and what is claimed of it per file; `harness.py` says how such a file looks."""
