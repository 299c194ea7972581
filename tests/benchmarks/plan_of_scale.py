"""A plan on paper of 10⁸ edits: `python tests/benchmarks/plan_of_scale.py [--table]`.

Unit costs are measured here by the real code (`unit_costs.py`, a minute); what cannot be is assumed, below. With
`--table` the section goes to docs/scaling.md, between its two markers.
"""

import argparse
import heapq
import math
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from editbench.pool import CHUNK_SECONDS, LARGEST_CHUNK, TRIES
from editbench.record_files import MAX_BYTES

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
BEGIN, END = "<!-- plan -->\n", "<!-- end of plan -->\n"
EDITS, SEED = 10**8, 0
GPUS = (64, 512, 4096)
EDITORS = {
    "a few steps, distilled": 1.5,
    "some thirty steps": 8.0,
    "fifty steps of a large model, guided": 30.0,
}
"""Seconds of one GPU for an edit at 512×512, one at a time."""

GPUS_A_NODE = 8
NODE_HOURS = 1000.0
REPLACE_SECONDS = 600.0
START_SECONDS = 120.0
SYNC_SECONDS = 0.002
PUT_SECONDS = 0.03
GPU_HOUR, CORE_HOUR, TB_MONTH, MILLION_PUTS = 2.5, 0.04, 23.0, 5.0

ASSUMED_HEAD = ("assumed", "", "where such numbers come from")
ASSUMED = [
    *(
        (f"an edit, {name}", f"{seconds:g} s of a GPU", "model cards differ by more")
        for name, seconds in EDITORS.items()
    ),
    ("GPUs of a node, lost together", f"{GPUS_A_NODE}", "usual servers"),
    (
        "mean time between losses of a node",
        f"{NODE_HOURS:g} h",
        "Llama 3 tells of 419 in 54 days of 16,384 GPUs, 6,300 h a node of eight; six times worse, for shared clusters",
    ),
    ("until another node is there", f"{REPLACE_SECONDS:g} s", "a scheduler's queue; hours where it is full"),
    ("start of a worker", f"{START_SECONDS:g} s", "reading some 30 GB of weights"),
    ("a sync on a shared disk", f"{1000 * SYNC_SECONDS:g} ms", "a round trip and a log of the server"),
    ("a PUT, one after the other", f"{1000 * PUT_SECONDS:g} ms", "what clients in the store's region see"),
    ("GPU hour", f"${GPU_HOUR:g}", "order of list prices for 80 GB"),
    ("core hour", f"${CORE_HOUR:g}", "order of list prices"),
    ("TB month", f"${TB_MONTH:g}", "order of list prices of object stores"),
    ("million PUTs", f"${MILLION_PUTS:g}", "the same"),
]


@dataclass(frozen=True)
class Fleet:
    """What the edits are made with; times in seconds."""

    gpus: int
    edit: float
    chunk: int = 1
    """Edits that are lost together, at most."""
    writer: float = 0.0
    """Of the writing process for an edit."""
    start: float = START_SECONDS
    replace: float = REPLACE_SECONDS
    node_hours: float = NODE_HOURS
    resume: float = 0.0
    """For each edit that a restarted shard has made before."""


@dataclass(frozen=True)
class Outcome:
    """What became of the edits; seconds from the start to the last edit, and of GPUs."""

    seconds: float
    gpu_seconds: float
    nodes_lost: int
    lost_gpu_seconds: float
    """Of work that was done again."""


def chunk_of(edit):
    """Return how many edits of so many seconds a pool gives at once, to an editor that takes one at a time."""
    return max(1, min(int(CHUNK_SECONDS / edit), LARGEST_CHUNK))


def in_one_pool(edits, fleet, seed):
    """Go from event to event, a node lost or ready: in between, rates are constant and each chunk's end is known."""
    chance = random.Random(seed)
    events = [(fleet.start, node, "ready") for node in range(fleet.gpus // GPUS_A_NODE)]
    heapq.heapify(events)
    since, now, made, alive, nodes_lost, lost = {}, 0.0, 0.0, 0, 0, 0.0
    while True:
        able = alive / fleet.edit
        rate = min(able, 1 / fleet.writer if fleet.writer else math.inf)
        time, node, event = events[0]
        if rate and made + rate * (time - now) >= edits:
            seconds = now + (edits - made) / rate
            return Outcome(seconds, seconds * fleet.gpus, nodes_lost, lost)
        made += rate * (time - now)
        now = time
        if event == "ready":
            alive += GPUS_A_NODE
            since[node] = now
            heapq.heapreplace(events, (now + chance.expovariate(1 / (3600 * fleet.node_hours)), node, "lost"))
            continue
        turn = fleet.chunk * alive / rate  # longer than the work where it waits for the writer
        gone = GPUS_A_NODE * min((now - since[node]) % turn, fleet.chunk * fleet.edit)
        made -= gone / fleet.edit if rate == able else 0.0
        lost, nodes_lost, alive = lost + gone, nodes_lost + 1, alive - GPUS_A_NODE
        heapq.heapreplace(events, (now + fleet.replace + fleet.start, node, "ready"))


def in_shards(edits, fleet, seed):
    """A share for each GPU, fixed; the run ends with the last one. A shard that starts again looks at what it has."""
    chance = random.Random(seed)
    last, gpu_seconds, nodes_lost, lost = 0.0, 0.0, 0, 0.0
    share = edits / fleet.gpus * fleet.edit
    for _ in range(fleet.gpus // GPUS_A_NODE):
        now, left = fleet.start, share
        while (life := chance.expovariate(1 / (3600 * fleet.node_hours))) < left:
            gone = life % (fleet.chunk * fleet.edit)
            left -= life - gone
            nodes_lost, lost = nodes_lost + 1, lost + GPUS_A_NODE * gone
            now += life + fleet.replace + fleet.start + fleet.resume * (share - left) / fleet.edit
        last, gpu_seconds = max(last, now + left), gpu_seconds + GPUS_A_NODE * (now + left)
    return Outcome(last, gpu_seconds, nodes_lost, lost)


def without_failures(edits, fleet):
    """Return the seconds in closed form: the GPUs' or the writer's, whichever are more."""
    return fleet.start + edits * max(fleet.edit / fleet.gpus, fleet.writer)


def expected_loss(fleet, nodes_lost):
    """Return the seconds of GPUs in closed form: half a chunk for each worker that was lost."""
    return nodes_lost * GPUS_A_NODE * fleet.chunk * fleet.edit / 2


def writer_seconds(costs, seats, place):
    """Return what the writing process takes for an edit, as if nothing of it overlapped."""
    waiting = {"shared": costs["syncs"] * SYNC_SECONDS, "store": costs["objects put"] * PUT_SECONDS, "here": 0.0}
    work = costs["writer seconds, this disk" if place == "here" else "writer seconds"]
    return work + costs[f"pool seconds, {seats} seats"] + waiting[place]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines) + "\n"


def number(value):
    """Return a number with two or three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


MEASURED = {
    "edit seconds": "beside a GPU: request, checks, hashes, PNG, lines of the journal",
    "pixel metrics seconds": "scores: the pixel metrics of the standard set, every pixel changed",
    "st_lpips seconds": "scores: `st_lpips:region=keep`, every pixel changed, source new",
    "PNG bytes": "a PNG",
    "journal bytes": "lines of the journal",
    "record bytes": "line of the records",
    "writer seconds": "the writing process: unpickle, PNG and journal to disk, forget",
    "writer seconds, this disk": "the same on this disk, by the clock on the wall (median)",
    "syncs": "its calls of fsync",
    "objects put": "objects that it would put instead: the edit, and an append",
    "pool seconds, 64 seats": "to give tasks to 64 workers, each in a chunk of its own",
    "pool seconds, 512 seats": "the same, 512",
    "pool seconds, 4096 seats": "the same, 4096",
    "journal reading seconds": "to read its lines of the journal",
    "index bytes": "to know where they are, and of its name: memory",
    "check seconds": "to compare the checksums of its file, on resume",
    "compaction seconds": "to compact",
    "merge seconds": "to merge two shards: decode, hash, write",
    "merged cell bytes": "for `merge` to know it: memory",
    "board seconds": "to read its record and put it on a board",
    "board bytes": "for the board to know it: memory",
}
"""What `unit_costs.measure` returns."""


def measured(costs):
    rows = []
    for name, what in MEASURED.items():
        value = costs[name]
        if "seconds" in name:
            rows.append((what, f"{number(1e6 * value)} µs"))
        else:
            rows.append((what, number(value) + (" bytes" if name.endswith("bytes") else "")))
    return table(("an edit of 512×512", "measured"), rows)


def results(costs):
    head = (
        "GPUs",
        "s an edit",
        "by",
        "edits a second",
        "days",
        "merge, days",
        "GPUs, k$",
        "workers lost",
        "GPU hours done twice",
        "edits done twice",
        "left after three losses",
        "writing node lost",
    )
    rows = []
    for gpus in GPUS:
        for alone in EDITORS.values():
            edit = alone + costs["edit seconds"]
            pooled = Fleet(gpus, edit, chunk_of(edit), writer_seconds(costs, gpus, "shared"))
            sharded = Fleet(gpus, edit, resume=costs["journal reading seconds"] + costs["check seconds"])
            merged = EDITS * (costs["merge seconds"] + 2 * SYNC_SECONDS) / 86400
            for by, fleet, outcome, merge in (
                ("a pool", pooled, in_one_pool(EDITS, pooled, SEED), 0),
                ("shards", sharded, in_shards(EDITS, sharded, SEED), merged),
            ):
                thrice = EDITS * (fleet.chunk * edit / (3600 * NODE_HOURS)) ** TRIES if by == "a pool" else 0
                rows.append(
                    (
                        gpus,
                        f"{alone:g}",
                        by,
                        number(EDITS / outcome.seconds),
                        number(outcome.seconds / 86400),
                        number(merge) if merge else "",
                        number(outcome.gpu_seconds / 3600 * GPU_HOUR / 1000),
                        outcome.nodes_lost * GPUS_A_NODE,
                        number(outcome.lost_gpu_seconds / 3600),
                        number(outcome.lost_gpu_seconds / edit),
                        f"{thrice:.0e}" if thrice else "0",
                        number(outcome.seconds / 3600 / NODE_HOURS) if by == "a pool" else "",
                    )
                )
    return table(head, rows)


def storage(costs):
    rows = [
        (what, f"{number(EDITS * costs[name] / 1e12)} TB", f"${number(EDITS * costs[name] / 1e12 * TB_MONTH)} a month")
        for what, name in (("edits", "PNG bytes"), ("journals", "journal bytes"), ("records", "record bytes"))
    ]
    hours = {name: EDITS * costs[f"{name} seconds"] / 3600 for name in ("edit", "pixel metrics", "st_lpips", "merge")}
    rows += [(f"cores, {name}", f"{number(used)} h", f"${number(used * CORE_HOUR)}") for name, used in hours.items()]
    puts = EDITS * costs["objects put"]
    rows.append(("an object store's PUTs", f"{number(puts / 1e6)} million", f"${number(puts / 1e6 * MILLION_PUTS)}"))
    return table(("what", "how much", "price"), rows)


def bends(costs):
    rows = []
    for place, name in (("here", "this disk"), ("shared", "a shared disk"), ("store", "an object store")):
        ceiling = 1 / writer_seconds(costs, max(GPUS), place)
        fed = ", ".join(f"{number(ceiling * edit)} of {edit:g} s" for edit in EDITORS.values())
        rows.append((f"one process writes to {name}", f"{number(ceiling)} edits a second", f"as {fed} make"))
    hours, gigabytes = EDITS / 3600, EDITS / 1e9

    def row(what, seconds, held=""):
        used = hours * sum(costs[f"{name} seconds"] for name in seconds)
        return what, f"{number(used)} h of a core", held

    rows += [
        row("all journals are read, once", ["journal reading"]),
        ("each process that opens the run knows", "", f"{number(gigabytes * costs['index bytes'])} GB of memory"),
        row("a resume reads journals and files of edits", ["journal reading", "check"]),
        row("compaction", ["compaction"]),
        row(
            "merge", ["merge"], f"{number(2 * gigabytes * costs['merged cell bytes'])} GB of memory (all cells, twice)"
        ),
        row("a board of one run", ["board"], f"{number(gigabytes * costs['board bytes'])} GB of memory"),
        (
            "one records.jsonl",
            f"{number(gigabytes * costs['record bytes'])} GB",
            f"no more than {number(MAX_BYTES / costs['record bytes'] / 1e6)} million records are read",
        ),
        row("every score is verified", ["pixel metrics", "st_lpips"]),
    ]
    return table(("what", "takes", ""), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="keep the section in docs/scaling.md")
    options = parser.parse_args()
    import unit_costs

    with tempfile.TemporaryDirectory() as folder:
        costs = unit_costs.measure(Path(folder))
    section = (
        f"{unit_costs.machine()} What has pictures was measured on {unit_costs.DISTINCT} edits or fewer and is "
        f"extrapolated {EDITS / unit_costs.DISTINCT:,.0f} times or more; lines of journals and records on "
        f"{unit_costs.MANY:,}, {EDITS / unit_costs.MANY:,.0f} times; a pool's giving for some seconds.\n\n"
        f"{measured(costs)}{table(ASSUMED_HEAD, ASSUMED)}{results(costs)}{storage(costs)}{bends(costs)}"
    )
    print(section, end="")
    if options.table:
        text = PAGE.read_text()
        PAGE.write_text(
            text[: text.index(BEGIN) + len(BEGIN)] + section.rstrip("\n") + "\n\n" + text[text.index(END) :]
        )


if __name__ == "__main__":
    main()
