"""The command line as a program: how commands are made of a table, and how the process ends."""
