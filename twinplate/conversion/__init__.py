"""What one program has learned, as parameters and optimiser state of the other."""
