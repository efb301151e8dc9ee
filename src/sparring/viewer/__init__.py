"""The step inspector: every run as one self-contained page on which steps can be looked at, one by one."""
