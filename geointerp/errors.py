"""The one error that a user can mend: what is wrong, where, and what would be right."""


class InputError(ValueError):
    """Bad input. Its message is one sentence; the command line shows it alone and exits with 2."""
