"""Whether an error met while reading is damage of the data or the machine's.

Damage is counted under its kind, and reading goes on; what the machine cannot do (a disk that
fails, a share that is gone, no right to read, no space, no more files to open) must end the
reader, or data that is whole would be dropped. So must a lack of memory, for which the guard gives
up the record: Arrow's is also an ArrowException, and a damaged header may ask for any amount. The
standard library's readers raise OSError for damage and machine: without a number where the bytes
are wrong, with the system's number where the system said so.
"""

from __future__ import annotations

import errno
import lzma
import struct
import tarfile
import zipfile
import zlib

# What readers of packed streams raise on damaged bytes; OSError may be the machine's: see `kind`.
PACKED = (EOFError, OSError, zlib.error, lzma.LZMAError)
# What readers of archives raise: those, and what comes of impossible numbers in headers.
ARCHIVE = (*PACKED, tarfile.TarError, zipfile.BadZipFile, struct.error, ValueError, RuntimeError,
           OverflowError, IndexError)  # fmt: skip
# EINVAL: an archive's own numbers lead to a place before the file's first byte.
_OF_DATA = (None, errno.EINVAL)


def kind(error: BaseException) -> str:
    """How the data that gave ``error`` is damaged: "truncated" or "corrupt".

    Raises:
        OSError: it is no damage: the machine's error, which ``error`` is or came of.
        MemoryError: it is or came of a lack of memory.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, MemoryError):
            raise link
        if isinstance(link, OSError) and link.errno not in _OF_DATA:
            raise link
        link = link.__cause__ or link.__context__
    return "truncated" if isinstance(error, EOFError) else "corrupt"
