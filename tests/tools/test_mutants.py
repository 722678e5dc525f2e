"""The mutants of `make mutants` are of code that there is, and are given tests that there are."""

import pytest

from tools.mutants import MUTANTS, ROOT, Mutant, place


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.defect)
def test_a_mutant_has_a_place_and_tests(mutant: Mutant) -> None:
    assert place(mutant, ROOT).is_file()
    assert mutant.new not in (mutant.old, "")
    for test in mutant.tests:
        assert (ROOT / test).is_file()
