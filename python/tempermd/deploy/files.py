"""The file of a deployed model: its name, and what it says of itself."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tempermd.records import UserError

SUFFIXES = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}
FORMAT_VERSION = "2"


def checked_output(output: Path | str, file_format: str | None = None) -> tuple[Path, str]:
    """Return the output and its format; refuse names that other loaders would not recognise.

    Parameters
    ----------
    output
        The file to write.
    file_format
        ``torchscript`` or ``aotinductor``; what the name says if not given.
    """
    output = Path(output)
    if file_format is not None and file_format not in SUFFIXES:
        raise UserError(f"format '{file_format}' is unknown; choose {' or '.join(SUFFIXES)}")
    allowed = {file_format: SUFFIXES[file_format]} if file_format else SUFFIXES
    for one, suffix in allowed.items():
        if output.name.endswith(suffix) and output.name != suffix:
            return output, one
    endings = " or ".join(f"{suffix} ({one})" for one, suffix in allowed.items())
    raise UserError(f"{output}: a deployed model's name must end in {endings}")


def model_info(path: Path | str) -> dict[str, Any]:
    """Read what a deployed model says of itself, without torch.

    Numbers are numbers, ``type_names`` a list, ``cutoff_A`` is nequip's ``r_max``; of the
    test configuration only the number of atoms is kept, as ``test_atoms``.
    """
    texts = extra_files(Path(path))
    if "tempermd_format" not in texts:
        raise UserError(f"{path}: compiled by nequip, not by deploy-model; deploy it with us")
    if texts["tempermd_format"] != FORMAT_VERSION:
        raise UserError(
            f"{path}: format {texts['tempermd_format']}, this tempermd reads {FORMAT_VERSION}; "
            "deploy the checkpoint anew"
        )
    info: dict[str, Any] = dict(texts)
    info["cutoff_A"] = float(info.pop("r_max"))
    info["type_names"] = texts["type_names"].split()
    info["num_layers"] = int(texts["num_layers"])
    info["num_types"] = int(texts["num_types"])
    info["versions"] = json.loads(texts["versions"])
    info["format"] = "aotinductor" if "AOTI_DEVICE_KEY" in texts else "torchscript"
    info["test_atoms"] = int(info.pop("test_configuration").split()[0])
    return info


def extra_files(path: Path) -> dict[str, str]:
    """Return what a TorchScript archive or an AOTInductor package says of itself, as text."""
    if not path.is_file():
        raise UserError(f"{path}: no such model file")
    try:
        with zipfile.ZipFile(path) as archive:
            texts = _torchscript_texts(archive) or _aotinductor_texts(archive)
    except (zipfile.BadZipFile, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: truncated, or no deployed model ({error})") from None
    missing = {"r_max", "type_names", "num_types", "model_dtype"} - set(texts)
    if missing:
        raise UserError(f"{path}: not a deployed model (no {', '.join(sorted(missing))} inside)")
    return texts


def _torchscript_texts(archive: zipfile.ZipFile) -> dict[str, str]:
    names = [name for name in archive.namelist() if name.split("/")[1:2] == ["extra"]]
    return {name.split("/", 2)[2]: archive.read(name).decode("ascii") for name in names}


def _aotinductor_texts(archive: zipfile.ZipFile) -> dict[str, str]:
    names = [name for name in archive.namelist() if name.endswith("wrapper_metadata.json")]
    return json.loads(archive.read(names[0]).decode("utf-8")) if names else {}
