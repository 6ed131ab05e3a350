"""Files on their way from one element to another: what is wanted, and who works on it."""
