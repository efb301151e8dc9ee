"""Oracles beside the core's, for courses that its sets do not hold: calculus, propositional logic, preconditions of steps.

Each is a member of a panel: ``contrib.calculus``, ``contrib.logic``, ``contrib.preconditions``. They read text with the
core's parsers and may touch nothing else.
"""
