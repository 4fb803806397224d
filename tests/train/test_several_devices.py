import os
import pathlib
import runpy
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = pathlib.Path(__file__).with_name("mesh_script.py")
ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.processes
def test_eight_devices_compute_what_one_computes(tmp_path, mesh):
    path = tmp_path / "eight.npz"
    environment = {  # a process of its own, as the number of devices is fixed when jax starts
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(ROOT),
    }
    subprocess.run([sys.executable, SCRIPT, path], check=True, env=environment)
    one = runpy.run_path(str(SCRIPT))["compute"](mesh)
    with np.load(path) as arrays:
        eight = dict(arrays)
    assert (one.pop("devices"), eight.pop("devices")) == (1, 8)
    assert one.keys() == eight.keys()
    for name, expected in one.items():
        # Sums in another order, so not bit by bit; counts are exact.
        tolerance = 0 if np.issubdtype(eight[name].dtype, np.integer) else 1e-5
        np.testing.assert_allclose(eight[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)
    assert one["train_confusion"].sum() == one["confusion"].sum() == len(one["predicted"]) == 37
