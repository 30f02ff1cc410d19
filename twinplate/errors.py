"""The one error that is the user's to mend."""


class InputError(ValueError):
    """Input that cannot be used as given.

    The message is for the person at the keyboard: what was given, what was expected and what to do.
    The command line prints it on stderr and exits with code 2.

    >>> from twinplate import InputError, ProgramConfig
    >>> try:
    ...     ProgramConfig(num_features=4, num_components=0)
    ... except InputError as error:
    ...     print(error)
    num_components is 0; expected a whole number, 1 or more
    """
