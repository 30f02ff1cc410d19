"""What differs between two records, what inaccuracies allow, and what explains the rest."""
