"""Campaigns: models x structures x protocols x temperatures x seeds, run, analysed, reported."""

from __future__ import annotations

from tempermd.campaign.building import VACUUM_A, build, prepare_structure
from tempermd.campaign.calibrating import calibrate
from tempermd.campaign.judging import (
    EXIT_COULD_NOT_RUN,
    EXIT_FAIL,
    EXIT_GOOD,
    analyse,
    analyse_all,
    collect,
    exit_code,
    movie,
    shown,
)
from tempermd.campaign.planning import CampaignPlan, plan
from tempermd.campaign.running import robustness, run_one
from tempermd.campaign.spec import CONTROL, BuiltStructure, ProtocolSpec, RobustnessSpec
from tempermd.campaign.suites import SUITES, read_suite

__all__ = [
    "CONTROL",
    "EXIT_COULD_NOT_RUN",
    "EXIT_FAIL",
    "EXIT_GOOD",
    "SUITES",
    "VACUUM_A",
    "BuiltStructure",
    "CampaignPlan",
    "ProtocolSpec",
    "RobustnessSpec",
    "analyse",
    "analyse_all",
    "build",
    "calibrate",
    "collect",
    "exit_code",
    "movie",
    "plan",
    "prepare_structure",
    "read_suite",
    "robustness",
    "run_one",
    "shown",
]
