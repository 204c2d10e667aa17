"""Files that are written whole or not at all, and refusals before the work."""

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def check_target(path: Path) -> None:
    """Refuse a name that a new file cannot or must not take, such as a device's.

    Raises:
        ValueError: `path` exists and is not a regular file.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file; give another name")


def make_folder(path: Path) -> None:
    """Create a folder for results, if it does not exist.

    Raises:
        ValueError: something on the way to `path` is not a folder.
        OSError: it cannot be created, or not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        way = next(part for part in (path, *path.parents) if part.exists())
        raise ValueError(f"{way} is not a folder; give another one") from error
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def write_atomically(target: Path, content: bytes | Iterable[bytes]) -> None:
    """Replace `target`, so that a reader or a crash sees the old or the new content.

    Args:
        target: the file; its folder is created if there is none.
        content: all of it, or its pieces one after the other.

    Raises:
        ValueError: as `check_target` and `make_folder`.
        OSError: it cannot be written; the error names `target`.
    """
    check_target(target)
    make_folder(target.parent)
    part = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, target)
    except BaseException as error:
        if part:
            Path(part).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise named(error, target) from error
        raise


def named(error: OSError, target: Path) -> OSError:
    """The error, about the file that the user knows and not its temporary one."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        reason = "no space left; free some, and the same command goes on"
    return OSError(error.errno, reason, str(target))
