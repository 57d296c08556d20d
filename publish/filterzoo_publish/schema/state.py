"""The columns of `status` and `skipped`. Each release replaces these configs."""

from __future__ import annotations

from filterzoo_publish.schema.column import DAY, MODEL_ID, NOT_STATED, STRING, Column

STATUS = (
    MODEL_ID,
    Column("last_seen", STRING, "last day a crawl found the checkpoint in its zoo: one that vanished stays", DAY),
    Column("superseded_by", STRING, "`model_id` of the newest revision of the same checkpoint", null="it is that"),
)

SKIPPED = (
    Column("source", STRING, "the zoo, or the plugin that failed"),
    Column("id", STRING, "what the zoo calls the checkpoint", null="a whole plugin failed"),
    Column("revision", STRING, "the pinned version of it", null="a whole plugin failed"),
    Column("url", STRING, "where people find it", null=NOT_STATED),
    Column(
        "stage",
        STRING,
        "where the line stopped",
        "a stage of the crawl; `publish` for a takedown",
    ),
    Column("reason", STRING, "why", "closed set: `filterzoo.Reason`"),
    Column("detail", STRING, "one line for people"),
    Column("where", STRING, "tensor, record or byte offset", null="the whole file"),
    Column("plugin", STRING, "the plugin that was at work", null="none"),
    Column("licence", STRING, "the licence, as far as it was known", null="unknown"),
)
