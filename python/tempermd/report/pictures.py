"""Pictures of culprit frames, rendered by OVITO without a display."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tempermd.report.clips import Clip
from tempermd.trajectory import Frame

SIZE = (480, 320)
BODY_COLOR = (0.56, 0.61, 0.66)
CULPRIT_COLOR = (0.86, 0.25, 0.10)
COLORS_IN_FILE = 64
BORDER = 12
LONGEST_DRAWN_BOND_A = 2.1


class RendererMissingError(Exception):
    """OVITO, or a system library that it needs, is missing."""


def render_clip(clip: Clip, *, around: bool = False) -> list[bytes]:
    """Render the frame that shows an event, culprit atoms marked, all from one side.

    Parameters
    ----------
    clip : Clip
    around : bool
        Whether the first and the last frame of the clip are rendered, too.

    Returns
    -------
    list of bytes
        PNG with a transparent background: one picture, or before, at and after the event.

    Raises
    ------
    RendererMissingError
        With the reason in words.
    """
    frames = [clip.frames[0], clip.frame, clip.frames[-1]] if around else [clip.frame]
    direction = camera_direction(clip.frame, clip.event.atom_ids)
    return [render_frame(frame, clip.event.atom_ids, direction) for frame in frames]


def camera_direction(frame: Frame, atom_ids: Sequence[int]) -> np.ndarray:
    """Return where a camera should look to see these atoms of a frame, (3,)."""
    shown = _main_part(frame)
    return _direction(shown, np.isin(shown.ids, list(atom_ids)))


def render_frame(
    frame: Frame, atom_ids: Sequence[int], direction: np.ndarray | None = None
) -> bytes:
    """Render one frame, by default from the side that its culprit atoms are on.

    Parameters
    ----------
    frame : Frame
    atom_ids : sequence of int
        Atoms to mark.
    direction : (3,) array or None
        Where the camera looks.

    Returns
    -------
    bytes
        PNG.
    """
    try:
        from ovito.pipeline import Pipeline, StaticSource
        from ovito.vis import TachyonRenderer, Viewport
    except ImportError as error:
        raise RendererMissingError(f"OVITO cannot be loaded ({error})") from None
    frame = _main_part(frame)
    culprits = np.isin(frame.ids, list(atom_ids))
    pipeline = Pipeline(source=StaticSource(data=_scene(frame, culprits)))
    pipeline.add_to_scene()
    try:
        looks = _direction(frame, culprits) if direction is None else direction
        viewport = Viewport(type=Viewport.Type.Ortho, camera_dir=looks)
        viewport.camera_up = _upwards(frame, viewport.camera_dir)
        viewport.zoom_all(size=SIZE)
        renderer = TachyonRenderer(ambient_occlusion=False, shadows=False, antialiasing_samples=4)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.png"
            viewport.render_image(size=SIZE, filename=str(path), alpha=True, renderer=renderer)
            return _few_colors(path)
    except RuntimeError as error:
        raise RendererMissingError(f"OVITO cannot render ({error})") from None
    finally:
        pipeline.remove_from_scene()


def _main_part(frame: Frame) -> Frame:
    """Leave out atoms so far away that all others would shrink to a dot."""
    distance = np.abs(frame.positions - np.median(frame.positions, axis=0)).max(axis=1)
    near = distance <= 3 * np.percentile(distance, 80) + 10.0
    return replace(frame, ids=frame.ids[near], positions=frame.positions[near])


def _scene(frame: Frame, culprits: np.ndarray):
    """Build OVITO's data: atoms by colour and size, bonds within the cell."""
    from ovito.data import DataCollection
    from ovito.modifiers import CreateBondsModifier
    from ovito.vis import BondsVis

    data = DataCollection()
    cell = np.column_stack([frame.cell.T, frame.origin])  # (3, 4), vectors as columns
    data.create_cell(cell, pbc=tuple(bool(flag) for flag in frame.pbc)).vis.enabled = False
    particles = data.create_particles(count=len(frame.ids))
    particles.create_property("Position", data=frame.positions)
    color = np.where(culprits[:, None], CULPRIT_COLOR, BODY_COLOR)
    particles.create_property("Color", data=color)
    particles.create_property("Radius", data=np.where(culprits, 0.62, 0.36))
    data.apply(CreateBondsModifier(cutoff=LONGEST_DRAWN_BOND_A))
    vis = data.particles.bonds.vis
    vis.width = 0.26
    vis.coloring_mode = BondsVis.ColoringMode.Uniform
    vis.color = BODY_COLOR
    return data


def _axis(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return the direction drawn from left to right, and the one drawn upwards."""
    spread = np.ptp(frame.positions, axis=0)
    along = int(np.argmax(spread))
    up = (along + 2) % 3
    return np.eye(3)[along], np.eye(3)[up]


def _upwards(frame: Frame, direction: np.ndarray) -> np.ndarray:
    """Return the direction drawn upwards, so that the long axis lies level."""
    along, up = _axis(frame)
    level = np.cross(along, np.asarray(direction))
    return -level if level @ up < 0 else level


def _direction(frame: Frame, culprits: np.ndarray) -> np.ndarray:
    """Return where the camera looks: across the long axis, the culprits in front or beside."""
    along, up = _axis(frame)
    across = np.cross(up, along)
    toward = across + 0.35 * up
    if culprits.any() and not culprits.all():
        radial = frame.positions - frame.positions[~culprits].mean(axis=0)
        radial -= np.outer(radial @ along, along)
        offset = radial[culprits].mean(axis=0)
        length = np.linalg.norm(offset)
        farthest = np.linalg.norm(radial[~culprits], axis=1).max()
        if length > farthest:  # outside: seen from the side, to show the gap
            toward = np.cross(along, offset / length)
        elif length > 1.0:
            toward = offset / length
    return -(toward + 0.18 * along)


def _few_colors(path: Path) -> bytes:
    """Return the picture without its empty border and with a palette, a third of the size."""
    from PIL import Image

    with Image.open(path) as picture:
        full = picture.convert("RGBA")
    box = full.getchannel("A").getbbox() or (0, 0, *SIZE)
    top, bottom = max(0, box[1] - BORDER), min(SIZE[1], box[3] + BORDER)
    full = full.crop((0, top, SIZE[0], bottom))  # same width
    small = full.quantize(COLORS_IN_FILE, method=Image.Quantize.FASTOCTREE)
    small.save(path, optimize=True)
    return path.read_bytes()
