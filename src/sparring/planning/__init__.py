"""What a job needs before it is started: memory, time, cost, and how it is launched."""
