"""Batches of a text whose words say where they stand."""

import numpy as np
import pytest
import tensorflow as tf

from enas_tf.core.errors import UserError
from enas_tf.data.text import TextData, TextDataConfig

EQUAL = TextDataConfig(sequence_length=3, random_length=False)
DRAWN = TextDataConfig(sequence_length=3)


def numbered(train=203, valid=101, test=23):
    """Word number n of a split is n, or 1000 + n, or 2000 + n."""
    counts = {"train": train, "valid": valid, "test": test}
    splits = {
        name: np.arange(1000 * place, 1000 * place + count, dtype=np.int32)
        for place, (name, count) in enumerate(counts.items())
    }
    return TextData("numbers", splits, ("a", "<unk>", "b"))


def read(batches):
    return [(w.numpy(), t.numpy(), bool(s)) for w, t, s in batches]


def shown(batches):
    """Words, targets and starts as plain lists."""
    return [(words.tolist(), targets.tolist(), starts) for words, targets, starts in read(batches)]


def assert_same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for part, other_part in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def lengths_of(batches):
    return [words.shape[1] for words, _, _ in read(batches)]


def test_vocabulary():
    data = numbered()
    assert (data.vocab_size, data.unknown) == (3, 1)
    assert TextData("known", data.splits, ("a", "b")).unknown is None


def test_training_rows_by_hand():
    # 14 words in 3 rows: 4 to read in each, and the last target is the next row's first word.
    first = ([[0, 1, 2], [4, 5, 6], [8, 9, 10]], [[1, 2, 3], [5, 6, 7], [9, 10, 11]], True)
    second = ([[3], [7], [11]], [[4], [8], [12]], False)
    data = numbered(train=14)
    assert data.steps_per_epoch(3, EQUAL) == 2
    batches = data.train_batches(3, EQUAL, seed=0, num_steps=5)
    assert shown(batches) == [first, second, first, second, first]
    time_is_free = tf.TensorSpec((3, None), tf.int32)
    assert batches.element_spec == (time_is_free, time_is_free, tf.TensorSpec((), tf.bool))


@pytest.mark.parametrize(
    ("words", "steps", "of_equal_length"),
    # 0.975 * 35 = 34.125 words on average.
    [(34_126, 1000, 975), (342, 10, 10), (53, 2, 2), (51, 1, 2), (2, 1, 1)],
)
def test_steps_per_epoch_by_hand(words, steps, of_equal_length):
    data = numbered(train=words)
    assert data.steps_per_epoch(1, TextDataConfig()) == steps
    equal = TextDataConfig(random_length=False)
    assert data.steps_per_epoch(1, equal) == of_equal_length


@pytest.mark.parametrize("sequence_length", [2, 3, 6, 10, 35])
@pytest.mark.parametrize(("words", "rows"), [(2, 1), (30, 7), (203, 4), (2000, 3)])
def test_each_pass_reads_every_word_once_in_order(words, rows, sequence_length):
    data = numbered(train=words)
    config = TextDataConfig(sequence_length)
    steps = data.steps_per_epoch(rows, config)
    batches = read(data.train_batches(rows, config, seed=1, num_steps=3 * steps))
    total = (words - 1) // rows
    for number in range(3):
        one = batches[number * steps : (number + 1) * steps]
        assert [starts for _, _, starts in one] == [True] + [False] * (steps - 1)
        assert min(words.shape[1] for words, _, _ in one) >= 1
        joined = np.concatenate([words for words, _, _ in one], axis=1)
        targets = np.concatenate([targets for _, targets, _ in one], axis=1)
        np.testing.assert_array_equal(joined.ravel(), np.arange(rows * total))
        np.testing.assert_array_equal(targets, joined + 1)


def test_lengths_are_distributed_as_the_authors_draw_them():
    data = numbered(train=136_501)
    config = TextDataConfig()
    steps = 4_000
    assert data.steps_per_epoch(1, config) == steps
    lengths = np.array(lengths_of(data.train_batches(1, config, seed=3, num_steps=steps)))
    assert lengths.sum() == 136_500
    # Cut at two deviations: 25 to 45, and 7.5 to 27.5, give or take a word to fit the sum.
    assert lengths.min() in (6, 7, 8)
    assert lengths.max() in (44, 45, 46)
    assert np.mean(lengths < 24) == pytest.approx(0.05 * 0.92, abs=0.012)
    # A normal distribution cut at two deviations has 0.88 of its deviation; to that comes the
    # distance of 17.5 between the two averages.
    variance = (0.88 * 5) ** 2 + 0.05 * 0.95 * 17.5**2
    assert np.std(lengths) == pytest.approx(variance**0.5, abs=0.25)


def test_lengths_are_at_least_5_wherever_the_text_allows():
    data = numbered(train=2000)
    short = TextDataConfig(sequence_length=6)
    lengths = lengths_of(data.train_batches(1, short, seed=0, num_steps=342))
    assert sum(lengths) == 1999
    assert min(lengths) == 5
    assert max(lengths) <= 26
    # 1,999 words in 683 steps of 3 leave no room for that.
    lengths = lengths_of(data.train_batches(1, DRAWN, seed=0, num_steps=683))
    assert sum(lengths) == 1999
    assert min(lengths) == 1


def test_lengths_depend_on_seed_and_pass_alone():
    data = numbered()
    steps = data.steps_per_epoch(4, DRAWN)
    both = lengths_of(data.train_batches(4, DRAWN, seed=5, num_steps=2 * steps))
    assert both == lengths_of(data.train_batches(4, DRAWN, seed=5, num_steps=2 * steps))
    assert both[:steps] != both[steps:]
    for seed in (6, -5):
        assert lengths_of(data.train_batches(4, DRAWN, seed=seed, num_steps=steps)) != both[:steps]


@pytest.mark.parametrize("config", [EQUAL, DRAWN])
@pytest.mark.parametrize("first_step", [1, 16, 17, 18, 40])
def test_training_goes_on_where_it_was_left(config, first_step):
    data = numbered()
    assert data.steps_per_epoch(4, config) == 17
    whole = read(data.train_batches(4, config, seed=2, num_steps=60))
    rest = data.train_batches(4, config, seed=2, num_steps=60 - first_step, first_step=first_step)
    assert_same(read(rest), whole[first_step:])


def test_shards_are_slices_of_the_rows():
    data = numbered()
    whole = read(data.train_batches(6, DRAWN, seed=2, num_steps=20))
    shards = [
        read(data.train_batches(6, DRAWN, seed=2, num_steps=20, shard=(index, 3)))
        for index in range(3)
    ]
    for step, (words, targets, starts) in enumerate(whole):
        for index in range(3):
            mine = slice(2 * index, 2 * index + 2)
            assert_same([shards[index][step]], [(words[mine], targets[mine], starts)])


def test_rewards_are_of_sequences_anywhere_in_the_validation_split():
    # 101 words in 10 rows: 10 to read in each, so that sequences of 3 begin at one of 8 places.
    data = numbered()
    batches = data.reward_batches(10, DRAWN, seed=4, num_steps=100)
    begins = []
    for words, targets, starts in read(batches):
        begin = words[0, 0] - 1000
        expected = 1000 + begin + 10 * np.arange(10)[:, None] + np.arange(3)
        np.testing.assert_array_equal(words, expected)
        np.testing.assert_array_equal(targets, expected + 1)
        assert starts
        begins.append(begin)
    assert set(begins) == set(range(8))
    # Seed and step alone decide.
    later = data.reward_batches(10, DRAWN, seed=4, num_steps=50, first_step=50)
    assert_same(read(later), read(batches)[50:])
    other = read(data.reward_batches(10, DRAWN, seed=5, num_steps=100))
    assert [words[0, 0] - 1000 for words, _, _ in other] != begins
    # Replicas take turns.
    assert_same(read(batches.shard(2, 1)), read(batches)[1::2])


def test_rewards_are_of_all_words_where_rows_are_short():
    batches = numbered(valid=7).reward_batches(3, DRAWN, seed=0, num_steps=2)
    expected = ([[1000, 1001], [1002, 1003], [1004, 1005]],)
    expected += ([[1001, 1002], [1003, 1004], [1005, 1006]], True)
    assert shown(batches) == [expected] * 2


def test_evaluation_by_hand():
    # 12 words in 2 rows: 5 to read in each, and one more target is left over.
    batches = numbered(test=12).eval_batches("test", 2, DRAWN)
    assert shown(batches) == [
        ([[2000, 2001, 2002], [2005, 2006, 2007]], [[2001, 2002, 2003], [2006, 2007, 2008]], True),
        ([[2003, 2004], [2008, 2009]], [[2004, 2005], [2009, 2010]], False),
        ([[2010]], [[2011]], True),
    ]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("rows", [1, 2, 5, 8, 22])
@pytest.mark.parametrize("words", [23, 24, 100])
def test_evaluation_has_each_word_as_a_target_once(words, rows, count):
    data = numbered(valid=words)
    found = []
    for index in range(count):
        for inputs, targets, _ in read(data.eval_batches("valid", rows, DRAWN, (index, count))):
            np.testing.assert_array_equal(targets, inputs + 1)
            assert 1 <= inputs.shape[1] <= 3
            found += targets.ravel().tolist()
    assert sorted(found) == list(range(1001, 1000 + words))


def test_evaluation_of_one_row_reads_the_text_as_it_was_written():
    batches = read(numbered().eval_batches("test", 1, DRAWN))
    assert [starts for _, _, starts in batches] == [True] + [False] * 7
    words = np.concatenate([words for words, _, _ in batches], axis=1)
    np.testing.assert_array_equal(words, [np.arange(2000, 2022)])


def test_evaluation_shards_keep_step_with_each_other():
    # 23 words in 5 rows: 4 to read in each, in two batches, and 2 left over in a third.
    data = numbered()
    shards = [read(data.eval_batches("test", 5, DRAWN, (index, 3))) for index in range(3)]
    sizes = [[words.shape for words, _, _ in shard] for shard in shards]
    assert sizes == [
        [(1, 3), (1, 1), (0, 2)],
        [(2, 3), (2, 1), (0, 2)],
        [(2, 3), (2, 1), (1, 2)],
    ]
    assert [[starts for _, _, starts in shard] for shard in shards] == [[True, False, True]] * 3


def test_mistakes_are_named():
    data = numbered(train=10, valid=4)
    too_many = r"between 1 and 3, .* the valid split of data set 'numbers' has 4 words, got 4"
    with pytest.raises(UserError, match=too_many):
        data.reward_batches(4, DRAWN, seed=0, num_steps=1)
    with pytest.raises(UserError, match=too_many):
        data.eval_batches("valid", 4, DRAWN)
    for rows in (0, 10):
        with pytest.raises(UserError, match=rf"between 1 and 9, .*, got {rows}; take smaller"):
            data.steps_per_epoch(rows, DRAWN)
    with pytest.raises(UserError, match=r"multiple of 2, the number of replicas.*, got 3"):
        data.train_batches(3, DRAWN, seed=0, num_steps=1, shard=(0, 2))
    with pytest.raises(UserError, match=r"data.sequence_length must be at least 2, got 1"):
        TextDataConfig(sequence_length=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (np.zeros(4, np.int64), r"must be int32, of shape \(count,\), got int64"),
        (np.zeros((2, 2), np.int32), r"got int32 of shape \(2, 2\)"),
        (np.full(4, 2, np.int32), "from 0 to 1, places in the vocabulary, got 2 to 2"),
        (np.zeros(0, np.int32), "mine has no examples in split test"),
    ],
)
def test_wrong_arrays_are_refused(words, message):
    splits = {"train": np.zeros(4, np.int32), "valid": np.ones(4, np.int32), "test": words}
    with pytest.raises(UserError, match=message):
        TextData("mine", splits, ("a", "b")).check()
