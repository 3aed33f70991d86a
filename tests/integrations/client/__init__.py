"""Runs the code that frontend developers copy from the documentation against the API."""
