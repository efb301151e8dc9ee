"""Labels from rollouts: values of prefixes, first errors, pits. `sparring label` is in `command.py`."""
