"""Serving: PRMs, and searches with them, over HTTP. One thread owns each model; requests of all clients share its batches.

Needs the extra `serve` (FastAPI, uvicorn, prometheus_client); nothing is imported before a server is made.
"""
