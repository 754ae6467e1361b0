"""Image files as they come: which are read, and which way up; does not import TensorFlow."""

import io
from pathlib import Path
from typing import BinaryIO

FILE_TYPES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
"""The endings of the files that a network is trained on, and that a server of it decodes."""

_UPRIGHT = 1

_ORIENTATION = 0x0112


def is_hidden(path: Path) -> bool:
    """Returns whether a file or folder is hidden, such as what macOS adds to archives."""
    return path.name.startswith(".")


def orientation(file: Path | BinaryIO) -> int:
    """Returns the EXIF orientation, from 1 to 8, of an image file; 1, upright, if it has none."""
    from PIL import Image  # only for images, so that text is served without

    try:
        with Image.open(file) as image:
            found = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:  # Pillow raises many kinds; whether a file can be decoded, decoders say
        return _UPRIGHT
    return found if found in range(1, 9) else _UPRIGHT


def upright_bytes(file: Path) -> bytes:
    """Returns the content of an image file, encoded anew where EXIF says that it must be turned.

    A server decodes files as they are, without regard to EXIF.

    Raises:
        OSError: the file cannot be read.
    """
    if orientation(file) == _UPRIGHT:
        return file.read_bytes()
    from PIL import Image, ImageOps

    turned = io.BytesIO()
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    try:
        with Image.open(file) as image:
            # Phones write a JPEG with further pictures behind it.
            kind = "JPEG" if image.format == "MPO" else image.format
            ImageOps.exif_transpose(image).save(turned, kind, **options.get(kind, {}))
    except (OSError, SyntaxError, ValueError):
        # A broken image: whoever decodes it says so.
        return file.read_bytes()
    return turned.getvalue()
