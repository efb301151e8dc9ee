"""The command line's groups: `train.py`, `evaluate.py`, and what all commands share (`options.py`)."""
