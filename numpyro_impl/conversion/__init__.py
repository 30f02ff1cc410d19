"""What a program has learned: taken from where the framework keeps it, read from its files, put back."""
