"""Reports for people: one HTML file per demo run, and the picture for the README."""
