"""Rollouts: sampling completions from a policy; engines behind one interface, here or on a server, and nothing else."""
