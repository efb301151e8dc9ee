"""Measuring PRMs, policies and oracles: every number with its interval, its threshold's rule, and the cases it rests on.

One file per evaluation, each read from top to bottom: settings, command, measures. Scores come through `scored.py`, and
what is written and shown goes through `outcome.py`. Torch is imported only where a model is loaded.
"""
