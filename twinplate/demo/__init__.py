"""The six fits on images of digits, their report and their pictures."""
