#!/usr/bin/env python3
"""Makes the files here: one picture (a synthetic one of tests/golden), packed in several ways.

    python make.py                     needs cjxl (Debian: libjxl-tools)
    pip install numpy pillow pillow-heif pillow-jxl-plugin
"""
import pathlib, subprocess

import numpy as np
import pillow_heif, pillow_jxl
from PIL import Image

HERE = pathlib.Path(__file__).parent
pillow_heif.register_heif_opener()

picture = Image.open(HERE / "../golden/portrait.jpg").resize((150, 226), Image.LANCZOS)
picture.save(HERE / "photo.png")
picture.save(HERE / "photo.heic", quality=60)
picture.save(HERE / "photo.avif", quality=70)
picture.save(HERE / "photo.jxl", quality=80)
picture.save(HERE / "lossless.jxl", lossless=True)

# With a date.
dated = Image.Exif()
dated.get_ifd(0x8769)[0x9003] = "2001:09:09 01:46:40"
picture.save(HERE / "dated.heic", quality=20, exif=dated.tobytes())

# Ten bits a channel.
deep = (np.asarray(picture).astype("uint16") * 257).tobytes()
pillow_heif.encode("RGB;16", picture.size, deep, HERE / "deep.heic", quality=60)

# Stored lying, with the word that it is to be turned: in HEIC a box (and EXIF, which must not turn it again), in
# JPEG XL a field of the picture.
lying, exif = picture.transpose(Image.Transpose.ROTATE_90), Image.Exif()
exif[0x0112] = 6
lying.save(HERE / "turned.heic", quality=60, exif=exif.tobytes())
lying.save(HERE / "turned.jpg", quality=92, subsampling=0, exif=exif.tobytes())
subprocess.run(["cjxl", "--quiet", "--lossless_jpeg=1", HERE / "turned.jpg", HERE / "turned.jxl"], check=True)
(HERE / "turned.jpg").unlink()

# With restart markers.
picture.save(HERE / "restarts.jpg", quality=85, restart_marker_blocks=7)
