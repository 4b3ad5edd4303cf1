"""`millstream sql-functions` and `score-rows`: a stream's model in SQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

if TYPE_CHECKING:
    from millstream.models.reference import ModelReference

Streams = Annotated[
    list[Path], typer.Argument(metavar="STREAM.TOML...", help="The streams' files.")
]


def sql_functions(
    streams: Streams,
    into: Annotated[Path, typer.Option(help="Folder for the configuration and the scripts.")],
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Of each function; each holds its models.")
    ] = 2,
) -> None:
    """Write what ClickHouse needs to score in SQL: millstream_score and millstream_answer.

    They are executable user-defined functions: ClickHouse starts `millstream score-rows` and hands
    it the rows. For a server, copy millstream_function.xml beside its config.xml and the scripts to
    its user_scripts_path, on a machine where this Python and the streams' files are readable to it;
    for the embedded one, `millstream warehouse --functions FOLDER`.

    Example: millstream sql-functions examples/loans/stream.toml --into functions
    """
    import sys

    from millstream.functions.config import Pool, write_functions
    from millstream.stream import Stream

    read = [Stream.load(path) for path in streams]
    pool = Pool(Path(sys.executable).absolute(), processes)
    for file in write_functions(into, [each.path.absolute() for each in read], pool):
        typer.echo(f"wrote {file}")
    name, order = read[0].name, ", ".join(read[0].features.order)
    typer.echo(f"then: SELECT millstream_score('{name}', ({order})) FROM {name}.events LIMIT 10")


def score_rows(
    streams: Streams,
    function: Annotated[
        str, typer.Option(help="millstream_score or millstream_answer.")
    ] = "millstream_score",
) -> None:
    """Score rows of features from standard input; what ClickHouse starts, not people.

    Reads chunks: a line with the number of rows, then of each row the model's name and the features
    as a tuple's text, both as RowBinary has strings. Writes as many results, in RowBinary. Ends
    with the input. Where MILLSTREAM_KAFKA_BOOTSTRAP is set a stream's releases are read from there
    (and their schema from MILLSTREAM_REGISTRY_URL): the champion answers; else the bundle of
    stream.toml does.

    Example: millstream score-rows examples/loans/stream.toml < chunks > results
    """
    import os
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    from consumers.sql.champion import Champion
    from consumers.sql.scoring import SqlScoring
    from millstream.errors import SettingsInvalid
    from millstream.functions.answers import ENCODERS
    from millstream.settings import (
        KafkaSettings,
        RegistrySettings,
        ScorerSettings,
        from_environment,
    )
    from millstream.stream import Stream

    encode = ENCODERS.get(function)
    if encode is None:
        raise SettingsInvalid(f"there is no function {function}", f"Take {' or '.join(ENCODERS)}")
    read = [Stream.load(path) for path in streams]
    settings = from_environment(ScorerSettings, os.environ)
    kafka = from_environment(KafkaSettings, os.environ)
    schemas = from_environment(RegistrySettings, os.environ)
    follows = "bootstrap" in kafka.model_fields_set
    streams_by_name = {stream.name: stream for stream in read}
    requests, answers = _ends()
    with TemporaryDirectory(prefix="millstream-models-") as cache, ExitStack() as open_ones:
        champions: dict[str, Callable[[], ModelReference | None]] = {}
        for name, stream in streams_by_name.items() if follows else ():
            champion = Champion(stream, kafka, schemas)
            open_ones.callback(champion.close)
            champions[name] = champion.reference
        scoring = SqlScoring(streams_by_name, settings, Path(cache), champions=champions)
        open_ones.callback(scoring.close)
        scoring.serve(requests, answers, encode)


def _ends() -> tuple[BinaryIO, BinaryIO]:
    """Input and output, which from here on nobody else writes to.

    A line that a library prints would be taken for a result; one on standard error ends the query,
    so that is kept for what ends this program.
    """
    import logging
    import os
    import sys
    import warnings

    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    answers, errors = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(2), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    sys.stderr = errors
    return sys.stdin.buffer, answers
