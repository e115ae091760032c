import pytest

from studio.advice.defaults import TABLE, WHY
from studio.advice.wording import written


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (8.0, "8"),
        (8, "8"),
        (0.98, "0.98"),
        (3e-4, "0.0003"),
        (5e-05, "0.00005"),
        (2e-6, "0.000002"),
        (2e-7, "2e-7"),
        (1e-4 / 3, "0.0000333333"),
        (1_000_000, "1000000"),
        (1e6, "1000000"),
        (0.0, "0"),
        (-0.5, "-0.5"),
        (True, "yes"),
        (False, "no"),
        ("cosine", "cosine"),
        ("", "none"),
        ((1.0, 2.0, 1.0), "1, 2, 1"),
        ([], "none"),
    ],
)
def test_a_value_reads_as_a_person_writes_it(value, said):
    assert written(value) == said


def test_no_default_reads_like_a_machine():
    for row in TABLE.values():
        for name in WHY.keys() & row.values.keys():
            said = WHY[name].format(value=written(row.values[name]))
            assert "e-0" not in said
            assert ".0 " not in said
