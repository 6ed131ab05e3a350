"""What comes from elsewhere: whether it is known to be faulty, whose it is, which one exactly."""
