"""What differs between two records, what excuses it, and what explains it."""
