"""Campaigns: models x structures x protocols x temperatures x seeds, run, analysed, reported."""

from __future__ import annotations

from tempermd.campaign.building import VACUUM_A, build, prepare_structure
from tempermd.campaign.calibrating import calibrate
from tempermd.campaign.campaign_spec import (
    CampaignSpec,
    EarlyStopping,
    Resources,
    read_campaign_spec,
)
from tempermd.campaign.collecting import collect_campaign
from tempermd.campaign.driving import drive, folder_of, halt, planned, resume, run_by_id
from tempermd.campaign.folder import Campaign, open_campaign, read_campaign
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
from tempermd.campaign.status import show_status
from tempermd.campaign.suites import SUITES, read_suite, suite_with
from tempermd.campaign.verifying import verify
from tempermd.campaign.working import work

__all__ = [
    "CONTROL",
    "EXIT_COULD_NOT_RUN",
    "EXIT_FAIL",
    "EXIT_GOOD",
    "SUITES",
    "VACUUM_A",
    "BuiltStructure",
    "Campaign",
    "CampaignPlan",
    "CampaignSpec",
    "EarlyStopping",
    "ProtocolSpec",
    "Resources",
    "RobustnessSpec",
    "analyse",
    "analyse_all",
    "build",
    "calibrate",
    "collect",
    "collect_campaign",
    "drive",
    "exit_code",
    "folder_of",
    "halt",
    "movie",
    "open_campaign",
    "plan",
    "planned",
    "prepare_structure",
    "read_campaign",
    "read_campaign_spec",
    "read_suite",
    "resume",
    "robustness",
    "run_by_id",
    "run_one",
    "show_status",
    "shown",
    "suite_with",
    "verify",
    "work",
]
