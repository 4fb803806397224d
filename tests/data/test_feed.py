import numpy as np
import pytest

from jaxtl.data.feed import epoch_order


@pytest.mark.parametrize("key", [None, (0, 1, 2)])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 64, 100])
@pytest.mark.parametrize("batch", [1, 2, 8, 10, 101])  # also more than there are images, even many times
def test_every_image_counts_exactly_once(count, batch, key):
    order = epoch_order(count, batch, key)
    steps = -(-count // batch)
    assert order.indices.shape == order.mask.shape == (steps, batch)
    assert sorted(order.indices[order.mask]) == list(range(count))
    assert order.mask[:-1].all(), "only the last batch is filled up"
    assert np.all(np.diff(order.mask[-1].astype(int)) <= 0), "the filling stands at the end"


@pytest.mark.parametrize(("count", "batch"), [(5, 4), (3, 10), (9, 8)])
def test_the_filling_is_real_images(count, batch):
    order = epoch_order(count, batch, (0,))
    assert order.indices.min() >= 0
    assert order.indices.max() < count


def test_the_dtypes_are_those_of_the_device():
    order = epoch_order(5, 2, (1,))
    assert order.indices.dtype == np.int32
    assert order.mask.dtype == bool


def test_without_a_key_the_order_is_kept():
    order = epoch_order(10, 4, None)
    assert order.indices[order.mask].tolist() == list(range(10))


def test_the_key_alone_decides_the_order():
    same, again = (epoch_order(100, 8, (1, 0, 3)) for _ in range(2))
    assert np.array_equal(same.indices, again.indices)


@pytest.mark.parametrize("other", [(2, 0, 3), (1, 1, 3), (1, 0, 4)])
def test_seed_phase_and_epoch_each_change_the_order(other):
    assert not np.array_equal(epoch_order(100, 8, (1, 0, 3)).indices, epoch_order(100, 8, other).indices)


def test_a_key_means_the_same_order_everywhere():
    assert epoch_order(8, 8, (0, 0, 0)).indices[0].tolist() == [2, 4, 3, 6, 5, 0, 1, 7]


def test_views_are_drawn_anew_and_leave_the_order_of_images_alone():
    one, many = epoch_order(100, 8, (1, 0, 3)), epoch_order(100, 8, (1, 0, 3), views=5)
    assert np.array_equal(many.indices % 100, one.indices)
    drawn = many.indices[many.mask] // 100
    assert set(drawn) == set(range(5))
    other = epoch_order(100, 8, (1, 0, 4), views=5)
    assert not np.array_equal(drawn, other.indices[other.mask] // 100)
    assert np.array_equal(many.indices, epoch_order(100, 8, (1, 0, 3), views=5).indices)


# Balanced sampling

LABELS = np.repeat([0, 1, 3], [80, 15, 5])  # class 2 has no images


@pytest.mark.parametrize("batch", [8, 100, 7])
def test_balanced_epochs_have_the_same_length_and_every_class_equally_often(batch):
    order, plain = epoch_order(100, batch, (0, 0, 0), balanced=LABELS), epoch_order(100, batch, (0, 0, 0))
    assert np.array_equal(order.mask, plain.mask)
    counts = np.bincount(LABELS[order.indices[order.mask]], minlength=4)
    assert counts[2] == 0
    assert sorted(counts[[0, 1, 3]]) == [33, 33, 34]


def test_images_of_a_rare_class_are_drawn_equally_often_and_those_of_a_large_one_at_most_once():
    order = epoch_order(100, 8, (0, 0, 0), balanced=LABELS)
    times = np.bincount(order.indices[order.mask], minlength=100)
    assert set(times[LABELS == 3]) == {6, 7}
    assert set(times[LABELS == 1]) <= {2, 3}
    assert set(times[LABELS == 0]) == {0, 1}


def test_a_balanced_order_depends_on_the_key_alone_and_over_the_epochs_sees_every_image():
    epochs = [epoch_order(100, 8, (0, 0, epoch), balanced=LABELS) for epoch in range(10)]
    assert np.array_equal(epochs[3].indices, epoch_order(100, 8, (0, 0, 3), balanced=LABELS).indices)
    assert not np.array_equal(epochs[3].indices, epochs[4].indices)
    assert set(np.concatenate([order.indices[order.mask] for order in epochs])) == set(range(100))


def test_classes_are_mixed_within_a_balanced_epoch():
    order = epoch_order(100, 10, (0, 0, 0), balanced=LABELS)
    assert all(len(np.unique(LABELS[row])) > 1 for row in order.indices)


def test_balanced_draws_have_views():
    plain, views = (epoch_order(100, 8, (0,), balanced=LABELS, views=count) for count in (1, 5))
    assert np.array_equal(views.indices % 100, plain.indices)
    assert set(views.indices[views.mask] // 100) == set(range(5))
