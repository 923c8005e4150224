"""The one error that a user can mend: what is wrong, where, and what would be right."""

import re

_OF_NUMPY = re.compile(
    r"""\bnp\.(?:(True|False)_"""
    r"""|(?:str|bytes)_\((b?'(?:[^'\\]|\\.)*'|b?"(?:[^"\\]|\\.)*")\)"""
    r"""|(?:u?int|float|longdouble|complex)\w*\('?([^()']*)'?\))"""
)


class InputError(ValueError):
    """Bad input. Its message is one sentence; the command line shows it alone and exits with 2."""

    def __init__(self, message: str = "") -> None:
        # what a table's index holds are numpy's scalars, and their repr is np.int64(1): a user
        # asked about row 1
        super().__init__(_OF_NUMPY.sub(lambda found: found[found.lastindex or 0], message))
