"""Whoever scores steps, behind one door: folders of PRMs, servers that run them, and language models as judges."""
