"""What is wrong with files in the mesh and waits for somebody."""
