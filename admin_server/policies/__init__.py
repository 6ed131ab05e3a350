"""What holds for the files of each namespace: how long, how many copies, how much."""
