"""A page for each alert: when it comes, what it means, what to do first.

Prometheus's alerts say it themselves (ops/prometheus/rules.py); the rest is here, and a test
compares it with what the code can raise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from consumers.releases.log import RULE as NOT_LOADED
from millstream.audit.ledger import MEANING, UNCERTAIN, Kind
from millstream.drift.verdict import Verdict
from millstream.judging.alarms import RULE as ROLLED_BACK
from ops.prometheus.rules import ALERTS

_AUDIT: Final = "Run `millstream verify STREAM.TOML`: it names partitions and offsets."
_STALLED: Final = (
    "Look whether the program runs and what its log says last; `/ready` of its metrics port says "
    "what is away. Nothing is lost while it stands still, as long as retention is longer."
)
VERIFY: Final[dict[Kind, str]] = {
    Kind.LOST: f"{_AUDIT} Keep the events: raise the retention of the events topic first. Look for "
    "somebody who moved the scorer's committed offsets, or deleted records. To have them answered, "
    "publish the events of these offsets again (they become new events with new coordinates).",
    Kind.DOUBLED: f"{_AUDIT} Readers that keep one prediction for each (source_partition, "
    "source_offset) are not harmed. Look for a writer that is no scorer of this stream, for a "
    "consumer that reads without read_committed, and for guarantee = 'at_least_once', where "
    "doubles after a crash are expected.",
    Kind.ALIEN: f"{_AUDIT} Something else writes to the predictions or dead letters, or the events "
    "topic was deleted and made anew. Find the writer by the record's headers; take its right to "
    "write away.",
    Kind.UNREADABLE: "Something that is no scorer wrote to the predictions or dead letters: find "
    "it, and take its right to write away.",
    Kind.MISPLACED: "Answers must be on their event's partition number; the join relies on it. "
    "Look whether the partitions of one topic were changed: all topics of a stream have as many.",
    Kind.ORDER: "Two scorers answered one partition at once, or somebody else wrote there. Look at "
    "the group's members and for programs with the same slot; readers must not rely on order until "
    "it is found.",
    Kind.OFFSET: "Somebody moved the group's offsets by hand, or restored a backup of one topic "
    "alone. Compare with `millstream verify`; put the offset back before events are answered twice "
    "or not at all.",
    Kind.ROW_MISSING: f"{_AUDIT} The records are still on Kafka: stop the sink, delete the rows "
    "from the first missing offset of that partition on, start it again; it goes on behind the "
    "highest row that is there.",
    Kind.ROW_DOUBLED: "Look for a second writer to the table, and for a copied or attached part. "
    "Delete the rows of the range and let the sink write them again, as for row_missing.",
    Kind.ROW_EXTRA: "Rows of a topic that was deleted and made anew, or written by hand. Move them "
    "to another table before they are counted.",
    Kind.ROW_DIFFERS: "The sink and verify read the same bytes differently: the event schema was "
    "changed without `millstream migrate`, or rows were edited. Compare `SHOW CREATE TABLE` with "
    "the schema; write the range again, as for row_missing.",
    Kind.SCORE_DIFFERS: "Look which model and digest the predictions name, and whether that bundle "
    "is the one in the registry (`millstream bundle check`). Another machine or ONNX Runtime may "
    "differ in the last bits; more is a wrong model: roll back.",
    Kind.WRONG_RELEASE: "Compare `millstream releases` with the switches of the partition. A "
    "scorer that does not see the releases topic answers with its old model: look at its log.",
    Kind.EVENT_EXPIRED: "Retention was shorter than the sink's delay. Raise the retention of the "
    "events topic, and look why the sink was late.",
    Kind.ANSWER_EXPIRED: "Retention of predictions is shorter than that of events, so it cannot be "
    "told whether they were answered. Give both the same.",
    Kind.COMPACTED: "A topic that must keep every record is compacted: set cleanup.policy=delete "
    "(`millstream check` names the topics).",
    Kind.OPEN_TRANSACTION: "A transaction is open and hides what comes after it. A scorer that was "
    "killed leaves one for its timeout of a minute; one that stays is another producer's: "
    "`kafka-transactions.sh find-hanging` names it, and aborts it.",
    Kind.SCORER_STALLED: _STALLED,
    Kind.SINK_STALLED: _STALLED,
    Kind.NOT_RESCORED: "The bundle that these predictions name could not be opened here. Give "
    "verify the registry of models, or the bundle.",
}
VERDICTS: Final[dict[Verdict, tuple[str, str]]] = {
    Verdict.BROKEN_PIPE: (
        "Values are missing, stuck, of another unit or of vanished categories: the data are wrong, "
        "not the world.",
        "Ask the producer of the fields that the incident names, with its first offset and time. "
        "Do not retrain on these rows. Once it is mended, the incident resolves by itself.",
    ),
    Verdict.HARMLESS_SHIFT: (
        "Inputs moved, the loss did not.",
        "Know it, no more. Look at the features' drift if it comes again each day.",
    ),
    Verdict.HARMFUL_SHIFT: (
        "Inputs moved and the loss rose: the model meets what is new to it.",
        "Look which slices lose most (`millstream performance`). Retrain with rows since the "
        "incident's first time; `millstream retrain` does so by itself where it runs.",
    ),
    Verdict.CONCEPT_CHANGE: (
        "The loss rose while inputs stayed: what the label means, or what it follows from, has "
        "changed.",
        "Ask whoever makes the outcomes whether their rule changed. If it did, retrain on labels "
        "since then; if they are wrong, correct them: a correction is an outcome that was known "
        "later.",
    ),
}
RULES: Final[dict[str, tuple[str, str]]] = {
    "lag": (
        "Records wait before a program for longer than the rule allows.",
        "Look whether the program runs (`/ready`), whether its latency rose, whether events come "
        "faster than before. More scorers share the partitions; `[serving.overload]` sheds work.",
    ),
    "threshold": (
        "The number of the rule's query is beyond its bound; its evidence has the number.",
        "Run the rule's query by hand, take its columns for the subject, and look at the rows.",
    ),
    "burn_rate": (
        "The objective's error budget is spent faster than the factor of both windows.",
        "latency: look at the scorers' batches, the broker's commit time, a new model. refused: "
        "look at `millstream letters list`, grouped by cause.",
    ),
    "missing_labels": (
        "More predictions than expected have no outcome at an age when they should have one.",
        "Ask whoever publishes outcomes; look at the newest `known_at`, and whether outcomes have "
        "the events' ids and keys. Until then performance and drift in the loss are blind.",
    ),
    "detector": (
        "The drift watch opened an incident of a verdict that the rule names.",
        "See the page of that verdict.",
    ),
    "not_evaluated": (
        "A rule could not be looked at for five minutes: ClickHouse or Kafka was away, or its SQL "
        "is wrong.",
        "Its evidence has the error. Until it is mended, that rule is deaf.",
    ),
}
PROGRAMS: Final[dict[str, tuple[str, str]]] = {
    NOT_LOADED: (
        "A scorer could not load the models of a release; what answered before goes on.",
        "The evidence has the error: a bundle that is not where the release says, a digest or "
        "signature that differs, a model that does not run there. Mend it, or "
        "`millstream rollback`.",
    ),
    ROLLED_BACK: (
        "A champion did worse than the one before it, proven on matured labels, and was taken "
        "back.",
        "Look at the decision (`NAME.decisions`, table decisions): gates, slices, evidence. There "
        "is no hurry: the former champion answers.",
    ),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One page. name: of the alert. group: in the index."""

    name: str
    group: str
    text: str

    @property
    def page(self) -> str:
        return f"runbook/{self.name}.md"


def entries() -> list[Entry]:
    """Every alert that a person may be told of."""
    made = [
        Entry(
            alert.name,
            "The programs (Prometheus)",
            f"**{alert.severity}**, when this holds for {alert.hold}:\n\n```text\n{alert.expr}\n"
            f"```\n\n## What to do\n\n{alert.act}\n",
        )
        for alert in ALERTS
    ]
    for kind, act in VERIFY.items():
        sure = (
            "It cannot be told whether anything is lost" if kind in UNCERTAIN else "It is certain"
        )
        made.append(
            Entry(
                f"verify_{kind}",
                "The audit (`millstream verify --watch`)",
                f"The audit found that {MEANING[kind]}. {sure}.\n\n## What to do\n\n{act}\n",
            )
        )
    for group, prefix, told in (
        ("Drift (`millstream watch`)", "incident_", VERDICTS),
        ("Rules of stream.toml (`[[alerts.rules]]`), by kind", "rule_", RULES),
        ("Releases and models", "", PROGRAMS),
    ):
        for name, (means, act) in told.items():
            text = f"{means}\n\n## What to do\n\n{act}\n"
            made.append(Entry(f"{prefix}{name}", group, text))
    return made


def runbook_pages() -> dict[str, str]:
    """File in the site -> Markdown."""
    found = entries()
    lines = ["# Runbook", "", "A page for each alert: what it means, what to do first.", ""]
    for group in dict.fromkeys(entry.group for entry in found):
        lines += [f"## {group}", ""]
        lines += [
            f"- [{e.name}]({e.page.removeprefix('runbook/')})" for e in found if e.group == group
        ]
        lines += [""]
    pages = {"runbook/index.md": "\n".join(lines)}
    return pages | {entry.page: f"# {entry.name}\n\n{entry.text}" for entry in found}
