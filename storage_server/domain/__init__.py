"""Rules about files, names, sidecars, modes and room: plain Python, no I/O."""
