"""Public data sets in their own layouts, one function from a record to problems or traces each.

Three files by who says whether a step is right: `reference` (the author of a solution), `human` (annotators
of each step), `automatic` (rollouts and other machines). `common` holds what they share. The table of all
formats, files and lines are in `readers.py`.
"""
