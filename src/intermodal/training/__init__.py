"""What one worker of a training does, on any platform."""

from typing import Final

#: Environment variable by which a launcher says where checkpoints outlive the task: a folder, or a place in an object store.
CHECKPOINTS_VARIABLE: Final = "INTERMODAL_CHECKPOINTS"
