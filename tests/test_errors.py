import pickle

import numpy as np
import pytest

from geointerp.errors import InputError


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(1), "1"),
        (np.int64(-3), "-3"),
        (np.uint8(7), "7"),
        (np.float64(1.5), "1.5"),
        (np.float32("nan"), "nan"),
        (np.float64(1e-30), "1e-30"),
        (np.longdouble(2), "2.0"),
        (np.complex128(1 + 2j), "1+2j"),
        (np.str_("São 'Paulo'"), "\"São 'Paulo'\""),
        (np.str_("x"), "'x'"),
        (np.str_("a)b'\"c"), r"""'a)b\'"c'"""),
        (np.bytes_(b"x"), "b'x'"),
        (np.True_, "True"),
        (np.False_, "False"),
        ((np.int64(1), np.str_("x")), "(1, 'x')"),
        ([np.float64(0.5), np.bool_(True)], "[0.5, True]"),
    ],
)
def test_values_of_numpy_are_written_plainly(value, plain):
    error = InputError(f"places: row {value!r} is wrong.")
    assert str(error) == f"places: row {plain} is wrong."
    assert error.args == (str(error),)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("text", ["", "np.array([1])", "np.random is no module.", "snp.int64(3)"])
def test_all_else_stays_as_it_is(text):
    assert str(InputError(text)) == text
