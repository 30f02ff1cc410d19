"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Input that cannot be used as given.

    The message is for the person at the keyboard: what was given, what was expected and what to do.
    The command line prints it on stderr and exits with code 2.
    """
