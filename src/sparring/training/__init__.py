"""Training: one file per method (the game of `aprm.py`, `supervised.py`, `rl.py`) and the pure parts that they share.

Code here may use everything below it and decides nothing about data sets or reports. To understand the game read `game.py`,
`adversary.py`, `aprm.py`, in this order.
"""
