"""The page of a stream's topics, made of what `millstream contract` says to other teams."""

from __future__ import annotations

from millstream.contract.public import CHANNELS, HEADERS, INTERNAL
from millstream.contracts import topic_table

_DAY_MS = 86_400_000


def topic_page() -> str:
    """Markdown."""
    lines = [
        "# Topics",
        "",
        "NAME is the stream's name. `millstream contract make STREAM.TOML --to FOLDER` writes all "
        "this for one stream as an AsyncAPI document, with the schemas and a producer's test kit.",
        "",
    ]
    for channel in CHANNELS:
        topic = topic_table()[channel.kind]
        kept = topic.config.get("retention.ms")
        stays = f"{int(kept) / _DAY_MS:g} days" if kept else "for ever; the newest of each key"
        written = "Other teams write it" if channel.direction == "in" else "Other teams read it"
        contract = "the stream's own event schema"
        if channel.subject is not None:
            contract = f"`schemas/{channel.subject}.vN.avsc`"
        lines += [
            f"## {topic.name('NAME')}",
            "",
            channel.summary,
            "",
            "| | |",
            "|---|---|",
            f"| who | {written}; Millstream's writers: {topic.writers}; readers: {topic.readers} |",
            f"| value | {contract} |",
            f"| key | {channel.key} |",
            f"| order | {channel.order} |",
            f"| delivery | {channel.guarantee} |",
            f"| kept | {stays} |",
            "",
        ]
    lines += ["## Headers", "", "| header | |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, (text, _) in HEADERS.items()]
    names = ", ".join(sorted(f"`{topic_table()[kind].name('NAME')}`" for kind in INTERNAL))
    lines += ["", f"Millstream's own, which may change without notice: {names}.", ""]
    return "\n".join(lines)
