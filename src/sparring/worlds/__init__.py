"""Worlds: small reasoning worlds with exact truth, procedural and seeded; code here knows neither models nor games."""
