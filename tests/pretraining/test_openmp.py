"""Threads that wait must not keep the processor; the settings that torch's OpenMP was given."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="torch uses GNU's OpenMP on Linux")


def settings_of_openmp(program: str, **environment: str) -> list[str]:
    """What OpenMP prints when it is loaded. Other packages may bring their own copy of it."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    ran = subprocess.run(
        [sys.executable, "-c", program + "; import os; print('GOMP_SPINCOUNT' in os.environ)"],
        env=clean | environment | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == f"{'GOMP_SPINCOUNT' in environment}\n"
    return [line.strip() for line in ran.stderr.splitlines() if "SPINCOUNT" in line]


def test_threads_of_a_training_spin_for_microseconds_only() -> None:
    training = "import vitrina.pretraining.train"
    default = settings_of_openmp("import torch")
    assert "GOMP_SPINCOUNT = '2000'" not in " ".join(default)
    if not default:
        pytest.skip("this torch has another OpenMP")
    assert "GOMP_SPINCOUNT = '2000'" in " ".join(settings_of_openmp(training))
    # what the user has set stays, and so does what an earlier import of torch has set
    chosen = settings_of_openmp(training, GOMP_SPINCOUNT="7")
    assert "GOMP_SPINCOUNT = '7'" in " ".join(chosen)
    assert "GOMP_SPINCOUNT = '2000'" not in " ".join(chosen)
    active = settings_of_openmp(training, OMP_WAIT_POLICY="active")
    assert "GOMP_SPINCOUNT = '2000'" not in " ".join(active)
    late = settings_of_openmp(f"import torch; {training}")
    assert "GOMP_SPINCOUNT = '2000'" not in " ".join(late)
