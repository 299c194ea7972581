"""Leaderboards: loading runs and record files, and a folder whose CSVs and pages regenerate byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from editbench.board import Board, build_boards
from editbench.compare import Compared, Comparison
from editbench.config import RunConfig, read_config
from editbench.durable import write_whole
from editbench.many_records import read_many
from editbench.plan import chosen_suite
from editbench.published import PublishedCell, read_published, shipped_folder
from editbench.published import to_csv as published_csv
from editbench.record_files import RecordFile
from editbench.report.comparison_page import write_comparison
from editbench.report.gallery import write_gallery
from editbench.report.leaderboard import render_boards
from editbench.report.published import benchmark_of
from editbench.report.showcase import Side
from editbench.report.site import AUDIT, BOARDS, METHODS, METRICS, STUDY, links, site_pages
from editbench.report.table import schema, to_csv, to_wide
from editbench.specs import slug
from editbench.splits import GroupBy, split
from editbench.store import RunStore
from editbench.types import EditbenchError, Suite
from editbench.verdicts import SUFFIXES, Verdict, read_verdicts

PAGE = "index.html"
SCHEMA = "schema.json"
"""What the columns of the CSVs hold."""
PUBLISHED, PUBLISHED_PAGE = "published", "published.html"
"""The folder with the tables of others, and the page that shows them beside our boards."""
NAMED = {"edit_grpo_ref@1": "shapes@1:size=64,categories=background+recolour+remove"}
"""Boards that are not named for their suite, and their suites. They have hundreds of rows and a report of their own
(`edit-grpo-ref study`), so they are not on the page."""


def is_folder(path: Path) -> bool:
    """Whether a path is a leaderboards folder: one with `records/<suite>/<label>.jsonl[.gz]`."""
    return (path / "records").is_dir()


def load(paths: Iterable[Path], by: GroupBy | None = None) -> list[Board]:
    """Build boards from run directories, record files and leaderboards folders, with the verdicts that they hold.

    Args:
        paths: where records are.
        by: one board for every turn, or every category, of each suite.

    Raises:
        EditbenchError: for a path that is none of these, or records that do not fit together.
    """
    files: list[RecordFile] = []
    boards: list[Board] = []
    verdicts: dict[str, Verdict] = {}
    paths = [*paths]
    alone = iter(read_many([path for path in paths if path.is_file()]))
    for path in paths:
        verdicts |= read_verdicts(_record_paths(path) if is_folder(path) else [path])
        if is_folder(path):
            committed = _committed(path)
            boards += [board for name in NAMED for board in _build(committed.pop(name, ()), by)]
            files += [file for name in sorted(committed) for file in committed[name]]
        elif path.is_file():
            files.append(next(alone))
        else:
            files.append(RunStore(path).records())
    return _verified(_build(files, by) + boards, verdicts)


def published_beside(paths: Iterable[Path]) -> tuple[PublishedCell, ...]:
    """Return the published numbers of the first leaderboards folder that has some, else those of the package.

    Raises:
        EditbenchError: naming file, line and value, if a table cannot be trusted.
    """
    folders = [path / PUBLISHED for path in paths if is_folder(path) and (path / PUBLISHED).is_dir()]
    return read_published(folders[0] if folders else shipped_folder())


def _build(files: Iterable[RecordFile], by: GroupBy | None) -> list[Board]:
    return build_boards(files if by is None else split(files, by))


def export(
    boards: Sequence[Board],
    csv: Path | None,
    html: Path | None,
    published: Sequence[PublishedCell] = (),
    wide: Path | None = None,
) -> list[Path]:
    """Write boards as one CSV and one page, where asked for; return what was written.

    Args:
        boards: from `load`.
        csv: where the table goes, which has our numbers only.
        html: where the page goes.
        published: numbers of others, for the page.
        wide: where the table with one row a run goes.
    """
    written = []
    if csv is not None:
        tables = [to_csv(board) for board in boards]
        rows = [table if number == 0 else table.partition("\n")[2] for number, table in enumerate(tables)]
        write_whole(csv, ["".join(rows).encode()])
        written.append(csv)
    if wide is not None:
        write_whole(wide, [to_wide(boards).encode()])
        written.append(wide)
    if html is not None:
        write_whole(html, [render_boards(boards, "editbench", published).encode()])
        written.append(html)
    return written


def export_comparison(comparison: Comparison, runs: Sequence[Compared], paths: Sequence[Path], html: Path) -> None:
    """Write the page of a comparison, with pictures of those runs that are directories.

    Args:
        comparison: of the runs.
        runs: from `load_runs`.
        paths: where each of them is.
        html: where the page goes.

    Raises:
        EditbenchError: if the suite of a run directory is not there any more.
    """
    sides = {}
    for run, path in zip(runs, paths, strict=True):
        if path.is_dir():
            store = RunStore(path)
            sides[run.name] = Side(store, store.cells(), _suite_of_run(path))
    write_comparison(comparison, sides, html)


def write(folder: Path, with_published: bool = False) -> list[Path]:
    """Write the CSV of every suite and the page of a leaderboards folder; return their paths.

    Tables of published numbers are sorted and compared anew.

    Args:
        folder: the leaderboards folder.
        with_published: whether to write their page too, which is also written if it is there.
    """
    contents = _contents(folder, with_published)
    for path, data in contents.items():
        write_whole(path, [data])
    return list(contents)


def check(folder: Path, with_published: bool = False) -> list[Path]:
    """Return the files of a leaderboards folder that are not byte for byte what its records and tables give.

    Args:
        folder: the leaderboards folder.
        with_published: whether the page of published numbers must be there.
    """
    contents = _contents(folder, with_published)
    stale = [path for path, data in contents.items() if not path.is_file() or path.read_bytes() != data]
    return stale + [path for path in sorted(folder.glob("*.csv")) if path not in contents]


def write_site(path: Path, output_dir: Path) -> Path:
    """Write the gallery of a run, or the whole site of a leaderboards folder; return the page to open."""
    if is_folder(path):
        for name, data in _site(path).items():
            write_whole(output_dir / name, [data])
        return output_dir / PAGE
    if not (path / "run.json").is_file():
        raise EditbenchError(f"{path} is neither a run directory (run.json) nor a leaderboards folder (records/)")
    return write_gallery(path, _suite_of_run(path), output_dir)


def _site(folder: Path) -> dict[str, bytes]:
    """Return every file of the site of a leaderboards folder: what regenerates, what the folder has, and a frame."""
    boards = _boards(folder)
    copied = {
        f"{part}/{path.name}": path.read_bytes()
        for part, suffixes in (("audit", (".csv", ".svg")), ("study", (".html", ".svg", ".png")))
        for path in sorted((folder / part).glob("*"))
        if path.suffix in suffixes
    }
    published = read_published(folder / PUBLISHED) if any((folder / PUBLISHED).glob("*.csv")) else ()
    names = [PAGE, BOARDS, METHODS, METRICS]
    names += [PUBLISHED_PAGE] * bool(published) + [STUDY] * (STUDY in copied)
    audit = {name.removeprefix("audit/"): data.decode() for name, data in copied.items() if name.startswith("audit/")}
    names += [AUDIT] * bool(audit)
    shown, site = [board for name, board in boards.items() if name not in NAMED], links(names)
    pages = site_pages(boards, tuple(NAMED), audit, names)
    pages[BOARDS] = render_boards(shown, "Boards", site=site, here=BOARDS)
    if published:
        pages[PUBLISHED_PAGE] = _published_page(shown, published, site)
    tables = {f"{name}.csv": to_csv(board) for name, board in boards.items()}
    tables |= {f"{name}-wide.csv": to_wide([board]) for name, board in boards.items()}
    written = {name: text.encode() for name, text in {**pages, **tables, SCHEMA: schema()}.items()}
    return {**copied, **written}


def _suite_of_run(path: Path) -> Suite:
    return chosen_suite(RunConfig.from_mapping(read_config(path / "run.json")))


def _committed(folder: Path) -> dict[str, list[RecordFile]]:
    """Return the record files of a leaderboards folder by the name of their board."""
    found: dict[str, list[RecordFile]] = {}
    paths = _record_paths(folder)
    for path, file in zip(paths, read_many(paths), strict=True):
        problem = _problem(path, file)
        if problem:
            raise EditbenchError(f"{path}: {problem}")
        found.setdefault(path.parent.name, []).append(file)
    if not found:
        raise EditbenchError(f"{folder / 'records'} has no record files")
    return found


def _record_paths(folder: Path) -> list[Path]:
    return sorted(p for suffix in SUFFIXES for p in (folder / "records").glob(f"*/*{suffix}"))


def _verified(boards: Iterable[Board], verdicts: Mapping[str, Verdict]) -> list[Board]:
    """Return boards whose rows have the verdicts on their records, and on no others."""
    return [
        replace(board, rows=tuple(replace(row, verdict=verdicts.get(row.records_sha256)) for row in board.rows))
        for board in boards
    ]


def _problem(path: Path, file: RecordFile) -> str | None:
    """Return why a record file has no place in a leaderboards folder, or not this one."""
    suite, label, repeats = file.header.suite, file.header.editor.label, file.header.repeats
    if "[" in suite.name:
        return f"{suite.name} is a selection; leaderboards take full runs only"
    if len(file.records) != suite.scenarios * repeats:
        needed = f"{suite.scenarios} scenarios x {repeats}"
        return f"{len(file.records)} records, {suite.name} has {needed}; leaderboards take full runs only"
    names = [f"{slug(label)}{suffix}" for suffix in SUFFIXES]
    folder = path.parent.name
    if NAMED.get(folder, folder) != suite.name or path.name not in names:
        return f"the records of {label!r} on {suite.name} belong into records/{suite.name}/{' or '.join(names)}"
    return None


def _boards(folder: Path) -> dict[str, Board]:
    found = {name: build_boards(files)[0] for name, files in _committed(folder).items()}  # one suite a folder
    return dict(zip(found, _verified(found.values(), read_verdicts(_record_paths(folder))), strict=True))


def _published_page(
    boards: Sequence[Board], published: Sequence[PublishedCell], site: Sequence[tuple[str, str]] = ()
) -> str:
    benchmarks = {cell.benchmark for cell in published}
    shown = [board for board in boards if benchmark_of(board.suite.name, benchmarks)]
    title = "editbench leaderboards: published numbers"
    return render_boards(shown, title, published, every_benchmark=True, site=site, here=PUBLISHED_PAGE)


def _contents(folder: Path, with_published: bool = False) -> dict[Path, bytes]:
    boards = _boards(folder)
    contents = {folder / f"{name}.csv": to_csv(board).encode() for name, board in boards.items()}
    shown = [board for name, board in boards.items() if name not in NAMED]
    contents[folder / SCHEMA] = schema().encode()
    contents[folder / PAGE] = render_boards(shown, "editbench leaderboards").encode()
    with_page = with_published or (folder / PUBLISHED_PAGE).exists()
    if not with_page and not any((folder / PUBLISHED).glob("*.csv")):
        return contents
    published = read_published(folder / PUBLISHED)
    benchmarks = sorted({cell.benchmark for cell in published})
    for benchmark in benchmarks:
        table = published_csv(cell for cell in published if cell.benchmark == benchmark)
        contents[folder / PUBLISHED / f"{benchmark}.csv"] = table.encode()
    if with_page:
        contents[folder / PUBLISHED_PAGE] = _published_page(shown, published).encode()
    return contents
