"""What differs between two records, what a framework's own inaccuracy allows, and what explains the rest."""
