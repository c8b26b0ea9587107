"""How a label fails: a source that gives none for a structure says why."""

from tempermd.records import UserError


class LabelFailureError(UserError):
    """A source gave no label for one structure; others may still be labelled."""
