"""What a run of a program showed, and the file it is kept in."""
