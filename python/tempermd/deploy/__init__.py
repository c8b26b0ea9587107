"""Checkpoints to models that LAMMPS runs, each checked against the model it came from."""

from tempermd.deploy.ase_calculator import calculator
from tempermd.deploy.check import check_structures, format_configuration, parse_configuration
from tempermd.deploy.export import Deployed, deploy, deploy_model
from tempermd.deploy.files import FORMAT_VERSION, SUFFIXES, model_info
from tempermd.deploy.load import load_deployed

__all__ = [
    "FORMAT_VERSION",
    "SUFFIXES",
    "Deployed",
    "calculator",
    "check_structures",
    "deploy",
    "deploy_model",
    "format_configuration",
    "load_deployed",
    "model_info",
    "parse_configuration",
]
