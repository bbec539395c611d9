"""Hash tables in the graph."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 5000])
def test_each_number_has_a_slot_of_its_own(count: int):
    from rawbert.exporter.tokenizers.lookup import PerfectHash

    numbers = np.random.default_rng(count).permutation(count * 3 + 1)[:count].astype(np.int64) * 50265
    slots = PerfectHash(numbers)
    found = slots(tf.constant(numbers)).numpy()
    assert len(set(found.tolist()) | {slots.free}) == count + 1
    assert slots.table(numbers, -1)[found].tolist() == numbers.tolist()
    assert (slots.table(numbers, -1)[slots.free]) == -1


def test_strings_that_are_not_known_have_no_value():
    from rawbert.exporter.tokenizers.lookup import Strings

    known = {f"word {at}".encode(): at for at in range(300)}
    find = Strings(known)
    asked = [*known, b"", b"word", *(f"word {at}".encode() for at in range(300, 3000))]
    assert find(tf.constant(asked)).numpy().tolist() == [known.get(each, -1) for each in asked]


def test_pairs_that_are_not_known_have_the_value_for_missing_ones():
    from rawbert.exporter.tokenizers.lookup import Pairs

    known = np.array([[first, second] for first in range(40) for second in range(first % 3, 40, 7)], np.int32)
    values = np.arange(len(known) * 2, dtype=np.int32).reshape(-1, 2)
    find = Pairs(known, values, 99, 40)
    table = {tuple(pair): value for pair, value in zip(known.tolist(), values.tolist(), strict=True)}
    first, second = np.meshgrid(np.arange(-1, 40), np.arange(40))
    made = find(tf.constant(first.reshape(-1)), tf.constant(second.reshape(-1))).numpy().tolist()
    pairs = zip(first.reshape(-1).tolist(), second.reshape(-1).tolist(), strict=True)
    assert made == [table.get(pair, [99, 99]) for pair in pairs]
