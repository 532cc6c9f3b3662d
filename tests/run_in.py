"""Run pytest in the environment of an image: its own packages first, the test tools after them.

<python of the image> tests/run_in.py <site-packages of the test tools> [pytest arguments]
"""

import sys

sys.path.append(sys.argv[1])

import pytest

if __name__ == "__main__":  # processes that a test starts import this file
    sys.exit(pytest.main(sys.argv[2:]))
