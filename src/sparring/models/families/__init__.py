"""Public families of PRMs: how each is written down as a sidecar, and converted to a folder that loads natively.

text_layout.py  token ids and scoring positions where texts are tokenised together
heads.py        a head of several layers on a native backbone
log_ratio.py    the scorer of implicit PRMs
source.py       reading a downloaded folder without running any of its code
registry.py     the families by name
command.py      `sparring convert-prm`
one file per family: what its model card says, and what it becomes
"""
