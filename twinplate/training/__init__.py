"""What a run is told, how it is prepared, and what it leaves behind."""
