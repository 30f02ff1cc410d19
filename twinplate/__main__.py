"""`python -m twinplate` is the command `twinplate`."""

from twinplate.cli import main

if __name__ == "__main__":
    main()
