"""One file by its id: from the index or the elements, and its bytes."""
