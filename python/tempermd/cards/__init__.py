"""Cards: what a model was made from, how good it is, and whether it was worth making."""

from tempermd.cards.card import (
    CardOptions,
    card_path,
    checkpoint_of,
    find_card,
    make_card,
    write_card,
)
from tempermd.cards.committees import calibration, committee
from tempermd.cards.guarding import guard
from tempermd.cards.records import Calibration, Card, Guard, GuardOptions

__all__ = [
    "Calibration",
    "Card",
    "CardOptions",
    "Guard",
    "GuardOptions",
    "calibration",
    "card_path",
    "checkpoint_of",
    "committee",
    "find_card",
    "guard",
    "make_card",
    "write_card",
]
