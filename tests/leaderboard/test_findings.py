"""The numbers in the prose of the README and the pages are those of the records."""

import pytest
from findings import RESULTS, ROOT, blocks, problems

pytestmark = pytest.mark.skipif(not (RESULTS / "records").exists(), reason="a checkout without records")


@pytest.mark.parametrize("file", ["README.md", "docs/findings.md", "docs/closed-loop.md"])
def test_the_numbers_in_prose_are_those_of_the_records(file):
    found = list(blocks((ROOT / file).read_text(encoding="utf-8")))
    wrong = [f"{problem}:\n{prose}" for prose, expressions in found if (problem := problems(prose, expressions))]
    assert not wrong, "\n\n".join(wrong)
    assert any(expressions for _, expressions in found)


def test_a_wrong_and_an_unchecked_number_are_found():
    assert problems("It has 91.7 % at T = 16.", "'91.7'") == ""
    assert problems("At T = 16 it has 91.7 %.", "'91.7'") == ""
    assert "the records give 91.7" in problems("It has 91.8 %.", "'91.7'")
    assert "no expression checks 0.5" in problems("It has 91.7 %, within 0.5.", "'91.7'")
