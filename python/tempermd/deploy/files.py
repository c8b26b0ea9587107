"""The file of a deployed model: its name, and what it says of itself."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tempermd.records import UserError

SUFFIX = ".nequip.pth"
FORMAT_VERSION = "2"


def checked_output(output: Path | str) -> Path:
    """Refuse an output whose name other loaders would not recognise."""
    output = Path(output)
    if not output.name.endswith(SUFFIX) or output.name == SUFFIX:
        raise UserError(f"{output}: a deployed model's name must end in {SUFFIX}")
    return output


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
    info["test_atoms"] = int(info.pop("test_configuration").split()[0])
    return info


def extra_files(path: Path) -> dict[str, str]:
    """Return the extra files of a TorchScript archive as text."""
    if not path.is_file():
        raise UserError(f"{path}: no such model file")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.split("/")[1:2] == ["extra"]]
            texts = {name.split("/", 2)[2]: archive.read(name).decode("ascii") for name in names}
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise UserError(f"{path}: truncated, or no deployed model ({error})") from None
    missing = {"r_max", "type_names", "num_types", "model_dtype"} - set(texts)
    if missing:
        raise UserError(f"{path}: not a deployed model (no {', '.join(sorted(missing))} inside)")
    return texts
