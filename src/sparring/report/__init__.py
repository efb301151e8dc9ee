"""Pages for people: one HTML file per run, made of the files in its directory by the templates beside this code."""
