"""What one run found, as docs/benchmarks.md and docs/benchmarks.svg."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

from tests.bench.front_door import Load, Share
from tests.bench.meter import TIMED
from tests.bench.rounds import MONEY, WORK, Round

_PACKAGES: Final = (
    "celery",
    "kombu",
    "redis",
    "SQLAlchemy",
    "psycopg2-binary",
    "falcon",
    "gunicorn",
    "requests",
)
_WORDS: Final = {
    "vendor": "calls to vendors",
    "sql": "SQL statements",
    "commit": "commits",
    "publish": "publishing messages",
    "result": "storing results, joining chords",
}


@dataclass(frozen=True, slots=True)
class Findings:
    """One run. `pairs`: (refundflow, bare canvas), in the order in which they ran."""

    command: str
    pairs: list[tuple[Round, Round]]
    empty: Round
    metered: Round
    loads: list[Load]
    share: Share
    postgres: str
    redis: str
    load_before: float
    load_after: float

    @property
    def ours(self) -> list[Round]:
        return [pair[0] for pair in self.pairs]

    @property
    def theirs(self) -> list[Round]:
        return [pair[1] for pair in self.pairs]

    @property
    def ratios(self) -> list[float]:
        return [ours.rate / theirs.rate for ours, theirs in self.pairs]


def summary(found: Findings) -> str:
    """The result in a few lines, for the terminal."""
    ours, theirs = _median_rate(found.ours), _median_rate(found.theirs)
    eight = found.loads[-1]
    return "\n".join(
        (
            f"refundflow    {ours:6.2f} cases/s   (median of {len(found.pairs)} rounds of {found.ours[0].cases})",
            f"bare canvas   {theirs:6.2f} cases/s   (the same vendor calls: {_same_calls(found)})",
            f"ratio         {statistics.median(found.ratios):6.2f}           (pair by pair: {_list(found.ratios)})",
            f"front door    {eight.rate:6.0f} events/s  (p50 {eight.percentile_ms(50):.1f} ms, p95 {eight.percentile_ms(95):.1f} ms,"
            f" p99 {eight.percentile_ms(99):.1f} ms; commit {100 * found.share.commit_ms / found.share.wall_ms:.0f} % of it)",
        )
    )


def page(found: Findings) -> str:
    """docs/benchmarks.md."""
    parts = (
        _opening(found),
        _rates(found),
        _front_door(found),
        _counts(found),
        _budget(found),
        _conditions(found),
    )
    return "\n\n".join(parts) + "\n"


def _opening(found: Findings) -> str:
    ours, theirs = _median_rate(found.ours), _median_rate(found.theirs)
    return f"""# Benchmarks

Written by `{found.command}` from one run on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Do not edit it by hand; run it again.

{_table(("", ""), _machine(found))}

**refundflow carries out {ours:.2f} cases a second, a bare Celery canvas with the very same vendor calls {theirs:.2f}:
{statistics.median(found.ratios):.2f} of it (median of {len(found.pairs)} pairs). The front door takes {found.loads[-1].rate:.0f} events a
second.**

![cases a second, round by round](benchmarks.svg)"""


def _machine(found: Findings) -> list[tuple[str, str]]:
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [
        ("processor", f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores"),
        ("memory", f"{memory:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()}"),
        (
            "servers",
            f"PostgreSQL {found.postgres}, Redis {found.redis}, both started by the program, on this machine",
        ),
        ("Python", f"{platform.python_version()}; {packages}"),
        (
            "load average (1 min)",
            f"{found.load_before:.2f} before the run, {found.load_after:.2f} at its end",
        ),
    ]


def _rates(found: Findings) -> str:
    rows = [
        (str(number), f"{a.rate:.2f}", f"{b.rate:.2f}", f"{a.rate / b.rate:.2f}")
        for number, (a, b) in enumerate(found.pairs, start=1)
    ]
    rows.append(
        (
            "**median**",
            f"**{_median_rate(found.ours):.2f}**",
            f"**{_median_rate(found.theirs):.2f}**",
            f"**{statistics.median(found.ratios):.2f}**",
        )
    )
    a, b = found.pairs[0]
    operations = sorted(set(a.calls) | set(b.calls))
    calls = [(name, _each(a.calls[name], a), _each(b.calls[name], b)) for name in operations]
    calls.append(("**all**", _each(a.calls.total(), a), _each(b.calls.total(), b)))
    return f"""## Cases a second

A case is one order: cancel at Shopify, restock beside refund at Stripe, credit note and payment in Xero, one mail to the
customer. refundflow is measured from the first `POST /v1/cancellations` to the last case complete in PostgreSQL, the bare canvas
from the first `apply_async` to the last task's result. {a.cases} cases a round, alternately; {_WARM}.

{_table(("pair", "refundflow", "bare canvas", "ratio"), rows)}

Without any vendor call the bare canvas makes {found.empty.rate:.1f} cases a second: that is what Celery and Redis alone cost here.

Both make the same calls. Per case, counted by the practice vendors in the first pair ({_same_calls(found)}):

{_table(("vendor and operation", "refundflow", "bare canvas"), calls)}"""


_WARM: Final = "six cases beforehand warm the workers up and are not counted"


def _front_door(found: Findings) -> str:
    rows = [
        (
            str(load.threads),
            f"{load.rate:.0f}",
            *(f"{load.percentile_ms(percent):.1f}" for percent in (50, 95, 99)),
            str(len(load.latencies_s)),
        )
        for load in found.loads
    ]
    share = found.share
    rest = share.wall_ms - share.sql_ms - share.commit_ms
    return f"""## The front door

`POST /v1/cancellations`, each about another order, over connections that stay open, with no workers behind it. One gunicorn
process with 8 threads; the clients' threads run on the same cores.

{_table(("client threads", "events/s", "p50 ms", "p95 ms", "p99 ms", "answers"), rows)}

Inside the server, with {found.loads[-1].threads} clients and a meter on each of {share.requests} requests, one takes {share.wall_ms:.1f} ms: the commit
{share.commit_ms:.1f} ms ({100 * share.commit_ms / share.wall_ms:.0f} %), the other SQL {share.sql_ms:.1f} ms ({100 * share.sql_ms / share.wall_ms:.0f} %), Python and waiting for its turn {rest:.1f} ms
({100 * rest / share.wall_ms:.0f} %)."""


def _counts(found: Findings) -> str:
    cases = found.metered.cases
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in found.metered.tasks:
        by_name[line["name"].removeprefix("refundflow.")].append(line)
    rows = []
    for name in sorted(by_name, key=_place):
        lines = by_name[name]
        mean = {
            kind: statistics.fmean(line["counts"][kind] for line in lines)
            for kind in (*TIMED, "redis", "messages")
        }
        rows.append(
            (
                name,
                f"{len(lines) / cases:.2f}",
                *(f"{mean[kind]:.1f}" for kind in ("sql", "commit", "redis", "messages", "vendor")),
                f"{1000 * statistics.fmean(line['wall_s'] for line in lines):.1f}",
                f"{1000 * statistics.fmean(line['cpu_s'] for line in lines):.1f}",
            )
        )
    sums = _sums(found.metered.tasks)
    rows.append(
        (
            "**a case, in all**",
            f"{len(found.metered.tasks) / cases:.2f}",
            *(f"{sums[kind] / cases:.1f}" for kind in ("sql", "commit", "redis", "messages", "vendor")),
            f"{1000 * sum(line['wall_s'] for line in found.metered.tasks) / cases:.1f}",
            f"{1000 * sum(line['cpu_s'] for line in found.metered.tasks) / cases:.1f}",
        )
    )
    a, b = found.pairs[-1]
    whole = [
        ("messages (LPUSH)", _each(a.messages, a), _each(b.messages, b)),
        ("Redis commands, without polling", _each(a.commands, a), _each(b.commands, b)),
        ("PostgreSQL transactions", _each(a.commits, a), _each(b.commits, b)),
        ("vendor calls", _each(a.calls.total(), a), _each(b.calls.total(), b)),
    ]
    top = [
        (name, _each(a.redis[name], a), _each(b.redis[name], b))
        for name, _ in (a.redis | b.redis).most_common(14)
    ]
    return f"""## What a step and a case cost

Per run of a task, from a round of {cases} cases with a meter inside the workers (`redis` here is what the task's own process sends:
publishing, results, pacing; fetching and acknowledging messages is its parent's).

{_table(("task", "runs/case", "SQL", "commits", "redis", "messages", "vendor calls", "wall ms", "CPU ms"), rows)}

Per case in the last pair, counted by the servers (sweeps and everything else that ran meanwhile included):

{_table(("", "refundflow", "bare canvas"), whole)}

The Redis commands behind it, per case; those that a script runs inside Redis are counted too:

{_table(("command", "refundflow", "bare canvas"), top)}"""


def _budget(found: Findings) -> str:
    cases, slots = found.metered.cases, WORK + MONEY
    tasks = found.metered.tasks
    seconds: Counter[str] = Counter()
    for line in tasks:
        seconds.update({kind: line["seconds"][kind] for kind in TIMED})
    wall = sum(line["wall_s"] for line in tasks)
    spent = {_WORDS[kind]: 1000 * seconds[kind] / cases for kind in _WORDS}
    spent["Python in tasks, and waiting for a core"] = 1000 * (wall - sum(seconds.values())) / cases
    total = 1000 * wall / cases
    rows = [(what, f"{ms:.1f}", f"{100 * ms / total:.0f} %") for what, ms in spent.items()]
    rows.append(("**in tasks, in all**", f"**{total:.1f}**", "100 %"))
    slot_ms = 1000 * slots * found.metered.seconds / cases
    names = list(dict.fromkeys(name for a, b in found.pairs for name in (*a.cpu_s, *b.cpu_s)))
    cpu = [(name, _cpu(found.ours, name), _cpu(found.theirs, name)) for name in names]
    table = [(name, f"{a:.1f}", f"{b:.1f}") for name, a, b in cpu]
    ours, theirs = sum(a for _, a, _ in cpu), sum(b for _, _, b in cpu)
    table.append(("**all**", f"**{ours:.1f}**", f"**{theirs:.1f}**"))
    cores = os.cpu_count() or 1
    apart = sorted(cpu, key=lambda line: line[2] - line[1])
    first, second = apart[0], apart[1]
    most = max(spent, key=lambda what: spent[what])
    busy_ours, busy_theirs = (ours * _median_rate(found.ours), theirs * _median_rate(found.theirs))
    return f"""## Where the time goes

Milliseconds of the workers' processes per case, inside tasks (the metered round):

{_table(("", "ms per case", "share"), rows)}

CPU milliseconds per case by process, median of the rounds (children included):

{_table(("process", "refundflow", "bare canvas"), table)}

A case keeps the {slots} worker processes busy for {total:.0f} ms inside tasks, of {slot_ms:.0f} ms that they have while it passes; the largest
part is {most} ({100 * spent[most] / total:.0f} %). It costs {ours:.0f} ms of CPU over all processes, the bare canvas {theirs:.0f} ms; the difference is
mostly {first[0]} ({first[1] - first[2]:+.1f} ms) and {second[0]} ({second[1] - second[2]:+.1f} ms). At the measured rates that is {busy_ours / 10:.0f} % of one core for refundflow and
{busy_theirs / 10:.0f} % for the bare canvas, of {100 * cores} % that the machine has; the practice vendors take {_cpu(found.ours, "practice vendors"):.0f} ms of every case themselves,
which real vendors would not."""


def _conditions(found: Findings) -> str:
    return f"""## Conditions, and what this does not say

- One machine does everything: the practice vendors, PostgreSQL, Redis, ingest, workers, beat and the program that measures share {os.cpu_count()}
  cores. Whatever else ran on it at the time is in the numbers; the load average above tells of it. Both sides run alternately on
  the same servers for that reason, and the ratio is taken pair by pair; compare ratios, not rates, between machines.
- Both sides have {WORK} worker processes for everything and {MONEY} for refunds, the same Redis (results there too) and the same practice vendors.
  refundflow runs with its own settings (late acknowledgement, one message at a time, events for Flower, a sweep each second) and
  PostgreSQL with fsync on; the bare canvas has Celery's defaults: it acknowledges first, fetches four at a time, and sends no events.
- The bare canvas keeps nothing: no rows, no claims, no audit, no intent before the call. A worker that dies loses its
  tasks, and against a message that comes twice it has only the idempotency keys that vendors forget after a while. It is a
  yardstick for speed, not an alternative.
- Practice vendors answer within milliseconds. Real ones are far away and limit how many calls they take; there a worker mostly
  waits, more worker processes fit on a core, and what refundflow adds to a case weighs less. How much less is not measured here.
- Shopify cancels in the background; both sides look again after 2 s, in which no worker process is held. It is part of every round.
- Rounds are short ({found.ours[0].cases} cases, {min(r.seconds for r in (*found.ours, *found.theirs)):.0f} to {max(r.seconds for r in (*found.ours, *found.theirs)):.0f} s); a rate includes the beginning and the end of a round, when not all workers are busy.
- The meter's round is apart from the timed ones, because metering takes time itself.
"""


def plot(found: Findings) -> str:
    """docs/benchmarks.svg: a bar for each round, both sides."""
    bars = [
        (f"pair {n}", side, r.rate)
        for n, pair in enumerate(found.pairs, start=1)
        for side, r in zip(("refundflow", "bare canvas"), pair, strict=True)
    ]
    longest = max(rate for _, _, rate in bars)
    colours = {"refundflow": "#1f6feb", "bare canvas": "#9aa4b2"}
    height = 64 + 26 * len(bars) + 10 * len(found.pairs)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" viewBox="0 0 720 {height}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        "<title>Cases a second, refundflow beside a bare Celery canvas</title>",
        f'<rect width="720" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="15" font-weight="600" fill="#1f2328">Cases a second, same vendor calls</text>',
    ]
    y = 44
    for index, (pair, side, rate) in enumerate(bars):
        if index % 2 == 0:
            y += 10
            lines.append(f'<text x="16" y="{y + 15}" fill="#57606a">{pair}</text>')
        width = 460 * rate / longest
        lines.append(f'<text x="70" y="{y + 15}" fill="#1f2328">{side}</text>')
        lines.append(f'<rect x="160" y="{y}" width="{width:.1f}" height="20" rx="3" fill="{colours[side]}"/>')
        lines.append(f'<text x="{168 + width:.1f}" y="{y + 15}" fill="#1f2328">{rate:.2f}</text>')
        y += 26
    return "\n".join((*lines, "</svg>")) + "\n"


# ------------------------------------------------------------ arithmetic and tables


def _median_rate(rounds: Iterable[Round]) -> float:
    return statistics.median(r.rate for r in rounds)


def _cpu(rounds: Iterable[Round], name: str) -> float:
    return statistics.median(1000 * r.cpu_s.get(name, 0.0) / r.cases for r in rounds)


def _sums(tasks: Iterable[dict[str, Any]]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for line in tasks:
        sums.update(line["counts"])
    return sums


def _same_calls(found: Findings) -> str:
    apart = [
        f"{name} {a.calls[name]} and {b.calls[name]}"
        for a, b in found.pairs
        for name in sorted(set(a.calls) | set(b.calls))
        if a.calls[name] != b.calls[name]
    ]
    per_case = found.pairs[0][1].calls.total() / found.pairs[0][1].cases
    return (
        f"not the same: {'; '.join(apart)}"
        if apart
        else f"{per_case:.2f} a case on both sides, in every pair"
    )


def _each(count: int, r: Round) -> str:
    return f"{count / r.cases:.2f}"


def _list(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:.2f}" for number in numbers)


def _place(name: str) -> tuple[int, str]:
    order = ("intake", "cancel_order", "restock", "refund", "post_ledger", "notify", "settle", "sweep")
    return (order.index(name) if name in order else len(order), name)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    marks = ["---", *("---:" for _ in head[1:])] if any(head) else ["---"] * len(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *rows))
