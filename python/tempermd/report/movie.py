"""A movie of a run, by OVITO: events are named as they happen, their atoms marked."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from tempermd.engine import Meter
from tempermd.events import Analysis, Event
from tempermd.events.clock import Clock
from tempermd.records import UserError, atomic_write
from tempermd.report.clips import can_be_shown
from tempermd.report.pictures import SIZE, RendererMissingError, camera_direction, render_frame
from tempermd.report.summary import kind_name
from tempermd.trajectory import Frame, iter_frames

SHOWN_PS = 0.3
"""How long an event stays named."""
CAPTION = 22
FRAMES_PER_S = 12
PAPER, INK, RED = (255, 255, 255), (28, 33, 38), (179, 38, 30)


def write_movie(analysis: Analysis, path: Path | str, *, most_frames: int = 120) -> Path:
    """Render a run as ``.gif``, or as ``.mp4`` where ffmpeg is at hand.

    Parameters
    ----------
    analysis : Analysis
        Its ``trajectory`` must still be there.
    path : path
        File to write; the suffix chooses the format.
    most_frames : int
        Frames are taken evenly, at most so many.

    Returns
    -------
    Path

    Raises
    ------
    UserError
        When there is no trajectory, no frame to show, no renderer, no ffmpeg, or an unknown suffix.
    """
    path = Path(path)
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"{path}: expected a name that ends in .gif or .mp4")
    if path.suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise UserError(f"{path}: a .mp4 needs ffmpeg, which is not here; name a .gif")
    if analysis.trajectory is None or not Path(analysis.trajectory).is_file():
        raise UserError(f"{analysis.trajectory}: the trajectory is not there any more")
    every = max(1, -(-analysis.n_frames // most_frames))
    with tempfile.TemporaryDirectory(prefix="tempermd-") as scratch:
        try:
            pictures = list(_pictures(analysis, every, Path(scratch)))
        except RendererMissingError as reason:
            raise UserError(f"no movie: {reason}") from None
        if not pictures:
            raise UserError(
                f"{analysis.trajectory}: no movie, for no frame has atoms and finite positions"
            )
        with atomic_write(path) as temporary:
            if path.suffix == ".gif":
                _write_gif(pictures, temporary)
            else:
                _write_mp4(Path(scratch), temporary)
    return path


def _pictures(analysis: Analysis, every: int, folder: Path) -> Iterator[Path]:
    """Render frames one after the other into numbered files."""
    direction: np.ndarray | None = None
    frames = islice(_timed(analysis), 0, None, every)
    meter = Meter("movie", -(-analysis.n_frames // every), "frames")
    with meter.shown():
        for number, (frame, time_ps) in enumerate(frames):
            if direction is None:
                direction = camera_direction(frame, [])
            now = [one for one in analysis.events if 0 <= time_ps - one.time_ps <= SHOWN_PS]
            marked = [atom_id for event in now for atom_id in event.atom_ids]
            path = folder / f"{number:05d}.png"
            _captioned(render_frame(frame, marked, direction), time_ps, now).save(path)
            meter.advance({"frames": 1})
            yield path


def _timed(analysis: Analysis) -> Iterator[tuple[Frame, float]]:
    """Return the frames that can be shown, each with its time as the events have it (ps)."""
    path = str(analysis.trajectory)
    clock = Clock(Path(path), analysis.timestep_fs)
    for frame in iter_frames(path, analysis.units):
        time_ps = clock.time_ps(frame)
        if time_ps is not None and can_be_shown(frame):
            yield frame, time_ps


def _captioned(png: bytes, time_ps: float, now: Sequence[Event]):
    """Return a picture on white with time and events below it."""
    from PIL import Image, ImageDraw

    width, height = SIZE
    rendered = Image.open(io.BytesIO(png)).convert("RGBA")
    picture = Image.new("RGB", (width, height + CAPTION), PAPER)
    picture.paste(
        rendered, ((width - rendered.width) // 2, (height - rendered.height) // 2), rendered
    )
    draw = ImageDraw.Draw(picture)
    draw.text((8, height + 4), f"{time_ps:.2f} ps", fill=INK)
    kinds = ", ".join(dict.fromkeys(kind_name(event.kind) for event in now))
    draw.text((90, height + 4), kinds, fill=RED)
    return picture


def _write_gif(pictures: Sequence[Path], path: Path) -> None:
    from PIL import Image

    images = [Image.open(one).quantize(64) for one in pictures]
    images[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=1000 // FRAMES_PER_S,
        loop=0,
    )


def _write_mp4(folder: Path, path: Path) -> None:
    command = ["ffmpeg", "-y", "-loglevel", "error", "-framerate", str(FRAMES_PER_S)]
    command += ["-i", str(folder / "%05d.png"), "-pix_fmt", "yuv420p", "-f", "mp4", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"ffmpeg failed: {done.stderr.strip()[-200:]}")
