"""Mutation tests of the linter: every mutation of the catalogue is found at its place, and every rule finds one that no other rule does."""

import random

import pytest

from intermodal.linting import rules as every_rule
from tests.linting.mutations import GENERIC, MUTATIONS, SUBJECTS, drawn, is_harmless, mutants, targets_of


@pytest.mark.fault(
    "Linter",
    "one mistake, of more than 200 kinds, in a valid compiled file, at a random place",
    "the linter finds it where it is, on every platform that it is one on",
)
def test_every_mutation_is_found_where_it_is(fault_random):
    missed = [
        f"{mutant} on {target}: {[(each.rule, each.where, each.what[:100]) for each in mutant.findings(target)]}"
        for mutant, target in drawn([each for each in MUTATIONS if not each.harmless], fault_random)
        if not mutant.finders(target)
    ]
    assert missed == []


def test_what_is_harmless_is_not_complained_about(fault_random):
    harmless = [each for each in MUTATIONS if each.harmless]
    assert harmless
    found = [str(mutant) for mutant in mutants(harmless, fault_random, 3) for target in targets_of(mutant) if mutant.findings(target)]
    assert found == []


def test_every_mutation_can_be_put_somewhere():
    edited = {each.name for each in MUTATIONS for documents, _ in SUBJECTS.values() if next(each.edits(documents), None) is not None}
    assert {each.name for each in MUTATIONS} == edited
    assert len(MUTATIONS) == len({each.name for each in MUTATIONS}) > 200


@pytest.mark.fault(
    "Linter",
    "any key of a valid compiled file is removed, misspelled, emptied, or gets a value of another type",
    "the linter finds it where it is, unless the catalogue says why the file stays valid",
)
def test_any_key_that_is_spoilt_is_found_or_known_to_be_harmless(fault_random):
    missed = [
        f"{mutant} on {target}: {[(each.rule, each.where, each.what[:100]) for each in mutant.findings(target)]}"
        for mutant, target in drawn(GENERIC, fault_random, 20)
        if not is_harmless(mutant) and not mutant.finders(target)
    ]
    assert missed == []


def test_every_rule_finds_a_mutation_that_no_other_does():
    """A rule for which there is none guards nothing: drop it, or put what it guards against into the catalogue."""
    left = {each.id for each in every_rule()}
    for seed in range(4):
        for mutant, target in drawn(MUTATIONS, random.Random(seed), 1, ["wired", "rich-kubeflow", "rich-vertex", "job"]):
            if not left:
                return
            rules = {each.rule for each in mutant.findings(target)}
            if len(rules) == 1:
                left -= mutant.finders(target)
    assert left == set()
