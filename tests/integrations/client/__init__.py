"""What frontend developers copy from the documentation, run against the real API."""
