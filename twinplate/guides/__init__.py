"""One normal over all that belongs to an item: how its numbers are laid out, and what is checked."""
