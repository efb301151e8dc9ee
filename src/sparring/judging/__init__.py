"""Language models as judges of steps: what they are asked, how their answers are read, votes, and what it costs."""
