"""A directory mounted by FUSE as gcsfuse mounts a bucket without folders: files are renamed, directories are not.

bucket_mount.py BACKING MOUNT

It counts what changes it (making, writing, renaming, removing) in the extended attribute `user.changes` of its root. Setting `user.kill_at` to n
kills, by SIGKILL, the process that is about to make the n-th change from then on; of a write, half is done.
"""
# ruff: noqa: PTH102, PTH101, PTH104, PTH106, PTH108, PTH208 (FUSE names paths by text)

import errno
import os
import signal
import sys
from pathlib import Path

from mfusepy import FUSE, FuseOSError, Operations, fuse_get_context


class Bucket(Operations):
    """Passes everything on to a directory below."""

    use_ns = True

    def __init__(self, backing: str) -> None:
        self.backing, self.changes, self.left = backing, 0, 0

    def below(self, path: str) -> str:
        return self.backing + path

    def changed(self) -> bool:
        """Count a change; return True where the caller was killed over it."""
        self.changes += 1
        self.left -= 1
        if self.left == 0:
            os.kill(fuse_get_context()[2], signal.SIGKILL)
            return True
        return False

    def setxattr(self, path, name, value, options, position=0):
        self.left = int(value)

    def getxattr(self, path, name, position=0):
        if name == "user.changes":
            return str(self.changes).encode()
        raise FuseOSError(errno.ENODATA)

    def getattr(self, path, fh=None):
        status = os.lstat(self.below(path))
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blocks")
        return {name.removesuffix("_ns"): getattr(status, name) for name in names}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.below(path))]

    def statfs(self, path):
        status = os.statvfs(self.below(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax")
        return {name: getattr(status, name) for name in names}

    def open(self, path, flags):
        return os.open(self.below(path), flags)

    def create(self, path, mode, fi=None):
        self.changed()
        return os.open(self.below(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        if self.changed():
            os.pwrite(fh, data[: len(data) // 2], offset)
            raise FuseOSError(errno.EIO)
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        self.changed()
        os.truncate(self.below(path), length)

    def release(self, path, fh):
        os.close(fh)

    def fsync(self, path, datasync, fh):
        return 0

    def mkdir(self, path, mode):
        self.changed()
        os.mkdir(self.below(path), mode)

    def rmdir(self, path):
        self.changed()
        os.rmdir(self.below(path))

    def unlink(self, path):
        if self.changed():
            raise FuseOSError(errno.EIO)
        os.unlink(self.below(path))

    def rename(self, old, new):
        if Path(self.below(old)).is_dir():
            raise FuseOSError(errno.EMFILE)  # what gcsfuse answers
        if self.changed():
            raise FuseOSError(errno.EIO)
        os.rename(self.below(old), self.below(new))

    def utimens(self, path, times=None):
        os.utime(self.below(path), ns=times)

    def chmod(self, path, mode):
        os.chmod(self.below(path), mode)


if __name__ == "__main__":
    FUSE(Bucket(sys.argv[1]), sys.argv[2], foreground=True, nothreads=True, raw_fi=False)
