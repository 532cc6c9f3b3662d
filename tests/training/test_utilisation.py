import hashlib
import os
import time

from intermodal.training.diagnosis.utilisation import watched


def test_the_share_of_the_processors_is_that_of_the_work_that_was_done():
    with watched() as idle:
        pass
    with watched() as busy:
        for _ in range(60):
            hashlib.sha256(bytes(1 << 20)).hexdigest()
    one = 1 / len(os.sched_getaffinity(0))
    assert 0 < busy.numbers["cpu_utilisation"] <= one * 1.05
    assert set(idle.numbers) >= {"cpu_utilisation"}


def test_a_program_that_prints_like_nvidia_smi_is_read_and_ended(tmp_path, monkeypatch):
    """No GPU has been at hand: this runs a program that prints the lines of NVIDIA's documentation, no more."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '40, 1000, 80000\\n[N/A], [N/A], [N/A]\\n60, 20000, 80000\\n'\nexec sleep 100\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with watched() as used:
        time.sleep(0.5)
    assert used.numbers["gpu_utilisation"] == 0.5
    assert used.numbers["gpu_memory"] == 0.25
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with watched() as without:
        pass
    assert "gpu_utilisation" not in without.numbers
