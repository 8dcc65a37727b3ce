"""`fvc bench`: time, memory and arithmetic."""
