import jax
import numpy as np
import pytest

from jaxtl.data.feed import epoch_order
from jaxtl.errors import UserError
from jaxtl.runtime.mesh import data_mesh, own_rows, put_order


def test_the_mesh_holds_all_devices_in_one_row():
    mesh = data_mesh(jax.device_count())
    assert mesh.size == jax.device_count()
    assert mesh.axis_names == ("data",)
    order = put_order(epoch_order(5 * mesh.size, 2 * mesh.size, None), mesh)
    np.testing.assert_array_equal(order.indices[0], np.arange(2 * mesh.size))


def test_devices_that_cannot_share_a_batch_evenly_stay_idle(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    monkeypatch.setattr(jax, "devices", lambda: 4 * [jax.local_devices()[0]])
    assert [data_mesh(batch).size for batch in (128, 25, 6)] == [4, 1, 2]


def test_devices_of_several_processes_must_share_a_batch_evenly(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr("jaxtl.runtime.mesh.is_single_process", lambda: False)
    with pytest.raises(UserError, match="batch_size is 20, which the 8 devices of 2 processes cannot share evenly"):
        data_mesh(20)


def test_a_single_process_has_all_rows():
    np.testing.assert_array_equal(own_rows(6, data_mesh(1)), np.arange(6))
