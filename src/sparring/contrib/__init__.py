"""What a user switches on by name beside the core, which imports nothing of it: each part may be left out alone."""
