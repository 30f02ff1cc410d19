"""What the commands of `twinplate` do, apart from reading the command line."""
