"""The record of a column, and the columns that several configs share."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import pyarrow as pa

STRING, INT, FLOAT, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
NOT_STATED = "the zoo does not state it"
NOT_KNOWN = "the architecture is not known, or has none"
DAY = "`YYYY-MM-DD`"


@dataclass(frozen=True, slots=True)
class Column:
    """unit: unit or range, if there is one. null: what an empty cell means. is_later: see `with_every_column`."""

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    null: str = "never"
    _: KW_ONLY
    is_later: bool = False

    @property
    def may_be_unknown(self) -> bool:
        """Whether an empty cell means that the value is unknown, not that there is none."""
        return self.null in {NOT_STATED, "unknown"}


MODEL_ID = Column("model_id", STRING, "the checkpoint: `source/id@revision`")
SOURCE = Column("source", STRING, "the zoo it was found in", "`[a-z0-9_]+`")
LICENCE_CLASS = Column("licence_class", STRING, "what the licence lets one do; decides the folder", "closed set")
TASK = Column("task", STRING, "what the network was trained to do", null=NOT_STATED)
TRAINING = Column("training_dataset", STRING, "what it was trained on last", null=NOT_STATED)
CATEGORY = Column("visual_category", STRING, "kind of images it was trained on", null=NOT_STATED)
ARCHITECTURE = Column("architecture", STRING, "the network's architecture", null=NOT_STATED)
ROBUST = Column("robust", BOOL, "trained against adversarial attacks", null=NOT_STATED)
LAYER_ID = Column("layer_id", STRING, "sha256 over shape and bytes: equal weights have equal ids", "64 hex digits")
