"""The demo: the whole system, the scenes, live progress, a killed worker, and a closing report that must add up."""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from refundflow.demo.agreement import Row, compare
from refundflow.demo.practice import API_KEY, PORTAL_KEY
from refundflow.demo.scenes import Scene, Send, World, scenes
from refundflow.demo.stack import Stack
from refundflow.demo.visitor import Visitor
from refundflow.observe import set_up_logs
from refundflow.sandbox import freshdesk, zendesk
from refundflow.store.db import Database, rows
from refundflow.transport.links import make_link

_PATIENCE_S: Final = 100.0
_SETTLED: Final = ("complete", "held", "attention", "declined", "nothing_to_do")
_STATE_STYLE: Final = {
    "complete": "green",
    "held": "yellow",
    "attention": "red",
    "running": "cyan",
    "nothing_to_do": "dim",
}


_LETTER: Final = {
    "notify": "M",
    "cancel_order": "C",
    "restock": "R",
    "refund": "$",
    "post_ledger": "B",
    "human_task": "H",
}
_STEP_STYLE: Final = {
    "succeeded": "green",
    "skipped": "dim strike",
    "dead_lettered": "bold red",
    "planned": "dim",
}
_LEGEND: Final = Text.assemble(
    "steps: M mail  C cancel  R restock  $ refund or void  B books  S staff  H a person's task    ",
    ("done", "green"),
    "  ",
    ("skipped", "dim strike"),
    "  ",
    ("dead letter", "bold red"),
    "  ",
    ("waits for it", "dim"),
)


@dataclass(slots=True)
class Story:
    """How one scene goes. `case_id`: once its request has a case; `problems`: why it did not end as it must."""

    scene: Scene
    number: str
    event_ids: list[int] = field(default_factory=list)
    case_id: str = ""
    state: str = "sending"
    done: int = 0
    steps: int = 0
    problems: list[str] = field(default_factory=list)
    marks: Text = field(default_factory=Text)


class Demo:
    """Plays the scenes (all, or those chosen) on a running stack."""

    def __init__(self, stack: Stack, console: Console, chosen: tuple[Scene, ...] = ()) -> None:
        self.stack = stack
        self.console = console
        self.world = World(chosen or scenes())
        self.stories = [Story(s, self.world.number(s)) for s in self.world.scenes]
        self.database = Database(stack.postgres.url, pool_size=1)
        self.killed = ""
        self.sent = 0
        self._pause = Event()

    def play(self) -> bool:
        """Everything, from the first event to the closing report. True when books and expectations agree."""
        self.stack.control("POST", "seed", self.world.seed())
        for fault in self.world.faults():
            self.stack.control("POST", "faults", fault)
        self.stack.subscribe()
        started = time.monotonic()
        with Live(self.progress(started), console=self.console, refresh_per_second=4, transient=True) as live:
            later: list[tuple[Story, Send]] = []
            for story in self.stories:
                for index, what in enumerate(story.scene.sends):
                    if what.after_case:
                        later.append((story, what))
                    else:
                        self.deliver(story, what, index)
                live.update(self.progress(started))
            self.kill_a_worker()
            approved: set[str] = set()
            while time.monotonic() - started < _PATIENCE_S:
                self.look()
                live.update(self.progress(started))
                later = [x for x in later if not self.deliver_when_ready(*x)]
                for story in self.stories:
                    if story.scene.approve and story.state == "held" and story.case_id not in approved:
                        approved.add(story.case_id)
                        self.approve(story)
                if not later and self.is_quiet():
                    break
                self._pause.wait(0.4)
        self.look()
        took_s = time.monotonic() - started
        return self.report(took_s)

    # ------------------------------------------------------------ sending

    def deliver(self, story: Story, what: Send, index: int) -> None:
        """One delivery through the front door, as its real sender would make it."""
        scene = story.scene
        match what.how:
            case "api":
                body: dict[str, Any] = {
                    "order": story.number,
                    "platform": scene.platform,
                    "reason": what.reason,
                    "requested_by": "customer",
                }
                if what.lines:
                    body["lines"] = [
                        {"line_id": self.world.line_id(scene, line), "quantity": quantity}
                        for line, quantity in what.lines
                    ]
                for _ in range(what.copies):
                    status, answer = self.stack.ask(body, f"demo-{story.number}-{index}")
                    self.sent += 1
                    if status != 202:
                        story.problems.append(f"the front door answered {status}: {answer}")
                    elif answer["event_id"] not in story.event_ids:
                        story.event_ids.append(answer["event_id"])
            case "shopify":
                self.stack.control(
                    "POST",
                    "settle",
                    {"vendor": "shopify", "order": self.world.order_id(scene), "staff_cancel": "CUSTOMER"},
                )
                self.sent += 1
                if what.copies > 1:
                    self.stack.webhook(
                        "shopify", "orders/cancelled", self.world.order_id(scene), copies=what.copies - 1
                    )
                    self.sent += what.copies - 1
            case "dispute":
                payment = next(self.world.payments(scene))[1]
                self.stack.control(
                    "POST", "settle", {"vendor": "stripe", "payment_intent": payment, "open_dispute": {}}
                )
                self.sent += 1
            case "dashboard_refund":
                _, payment, minor = next(self.world.payments(scene))
                self.stack.control(
                    "POST",
                    "settle",
                    {"vendor": "stripe", "payment_intent": payment, "dashboard_refund": {"amount": minor}},
                )
                self.sent += 1
            case "portal":
                units = {self.world.line_id(scene, line): quantity for line, quantity in what.lines}
                until = int(time.time()) + 3600
                link = make_link(self.stack.api_url, PORTAL_KEY.encode(), scene.platform, story.number, until)
                self._tried(story, lambda: Visitor(link).cancel(units))
            case "mail":
                sender = f"{scene.name}@customers.example"
                mail = {
                    "recipient": "cancel@mg.practice.example",
                    "sender": sender,
                    "from": sender,
                    "subject": f"Please cancel order {story.number}",
                    "body-plain": "I changed my mind.",
                }
                self.stack.control("POST", "settle", {"vendor": "mailgun", "inbound": mail})
                self.sent += 1
            case "zendesk" | "freshdesk":
                target = self._ticket(story, what.how)
                topic = "conditional_ticket_events" if what.how == "zendesk" else freshdesk.CANCEL_EVENT
                self.stack.webhook(what.how, topic, target, copies=what.copies)
                self.sent += what.copies
            case "flag":
                flag = {"flag_id": story.number, "flag": "unfulfilled", "order": story.number}
                body_ = json.dumps(flag).encode()
                for _ in range(what.copies):
                    status, answer = self.stack.flag(body_)
                    self.sent += 1
                    if status != 200:
                        story.problems.append(f"the front door answered {status}: {answer}")
            case "etsy":
                settled = {"vendor": "etsy", "receipt": story.number, "cancel": True}
                self.stack.control("POST", "settle", settled)
                self.sent += 1
            case "amazon":
                asked = {"vendor": "amazon", "order": story.number, "event": "buyer_request"}
                self.stack.control("POST", "settle", asked)
                self.sent += 1
            case _:
                raise ValueError(f"no such delivery: {what.how}")

    def _tried(self, story: Story, act: Callable[[], object]) -> None:
        self.sent += 1
        try:
            act()
        except (OSError, RuntimeError) as error:
            story.problems.append(str(error))

    def _ticket(self, story: Story, desk: str) -> str:
        """A ticket at the desk that an agent has tagged, with the order's number in its field."""
        email, number = f"{story.scene.name}@customers.example", story.number.lstrip("#")
        ticket: dict[str, Any]
        if desk == "zendesk":
            ticket = {
                "comment": "Please cancel my order.",
                "custom_fields": {str(zendesk.ORDER_FIELD): number},
                "tags": [zendesk.TAG],
                "requester": {"name": "Ada", "email": email},
            }
            made = self.stack.control("POST", "seed", {desk: {"tickets": [ticket]}})
            return str(made[desk]["tickets"][0])
        ticket = {
            "subject": "Please cancel",
            "description": "<p>Please cancel my order.</p>",
            "email": email,
            "status": 2,
            "priority": 2,
            "tags": [freshdesk.CANCEL_TAG],
            "custom_fields": {"cf_order_ref": number},
        }
        made = self.stack.control("POST", "seed", {desk: {"tickets": [ticket]}})
        return str(made[desk]["tickets"][0]["id"])

    def deliver_when_ready(self, story: Story, what: Send) -> bool:
        """Sends what must come at a certain moment: when the case is in a state, or the refund has been turned away once."""
        if what.after_case in _SETTLED:
            if story.state != what.after_case:
                return False
            self.deliver(story, what, 1)
            return True
        waiting = self.rows(
            "SELECT 1 AS yes FROM steps s JOIN cases c USING (case_id) WHERE c.order_number = :number"
            " AND s.action = 'refund' AND s.state = 'retry_scheduled'",
            number=story.number,
        )
        if waiting:
            self.deliver(story, what, 1)
        return bool(waiting)

    def kill_a_worker(self) -> None:
        """SIGKILL for a whole worker as soon as it holds a step: nothing may be lost or doubled by it."""
        for _ in range(100):
            held = self.rows(
                # Amazon shows only after half an hour that a feed was never made; nobody watches a demo that long.
                "SELECT step_key FROM steps WHERE state = 'in_flight' AND kind <> 'refund'"
                " AND platform <> 'amazon' LIMIT 1"
            )
            if held:
                pid = self.stack.supervisor.kill("work", signal.SIGKILL)
                self.killed = (
                    f"worker process {pid} and its children were killed while they held {held[0]['step_key']}"
                )
                return
            self._pause.wait(0.02)

    def approve(self, story: Story) -> None:
        """A person's word, typed as an operator would type it."""
        done = self.stack.cli(
            "case", "approve", story.case_id, "--reason", "checked with the customer by telephone"
        )
        if done.returncode != 0:
            story.problems.append(f"approve: {done.stderr.strip()}")

    # ------------------------------------------------------------ looking

    def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return rows(connection, sql, **values)

    def look(self) -> None:
        """Reads how every case stands."""
        found = {
            r["order_number"]: r
            for r in self.rows(
                "SELECT c.order_number, c.case_id, c.state, count(s.step_key) AS steps,"
                " count(s.step_key) FILTER (WHERE s.state IN ('succeeded', 'skipped', 'reversed')) AS done"
                " FROM cases c LEFT JOIN steps s USING (case_id) GROUP BY c.case_id ORDER BY c.opened_at, c.case_id"
            )
        }
        for story in self.stories:
            r = found.get(story.number)
            if r is not None:
                story.case_id, story.state = r["case_id"], r["state"]
                story.done, story.steps = r["done"], r["steps"]

    def is_quiet(self) -> bool:
        """Nothing is on its way any more: every case settled, every event handled, no step that could still move."""
        if any(s.state not in _SETTLED or (s.scene.approve and s.state == "held") for s in self.stories):
            return False
        busy = self.rows(
            "SELECT (SELECT count(*) FROM events WHERE due_at IS NOT NULL)"
            " + (SELECT count(*) FROM steps WHERE due_at IS NOT NULL)"
            " + (SELECT count(*) FROM cases WHERE due_at IS NOT NULL) AS left"
        )
        return bool(busy[0]["left"] == 0)

    # ------------------------------------------------------------ showing

    def progress(self, started: float) -> Table:
        """What people watch meanwhile."""
        states = Counter(s.state for s in self.stories)
        done, steps = sum(s.done for s in self.stories), sum(s.steps for s in self.stories)
        table = Table.grid(padding=(0, 2))
        bar = "█" * round(30 * done / max(steps, 1))
        table.add_row(
            f"{time.monotonic() - started:5.1f} s",
            f"[green]{bar:<30}[/] {done}/{steps} steps",
            f"{self.sent} events sent",
        )
        table.add_row(
            "",
            "  ".join(f"[{_STATE_STYLE.get(k, 'white')}]{n} {k}[/]" for k, n in sorted(states.items())),
            "",
        )
        if self.killed:
            table.add_row("", f"[red]killed:[/] {self.killed}", "")
        return table

    def report(self, took_s: float) -> bool:
        """The closing report. True when every scene ended as it must and all books agree."""
        books = self.stack.control("GET", "book")
        with self.database.transaction() as connection:
            agreement = compare(connection, _by_vendor(books))
        for story in self.stories:
            self.judge(story)
            story.marks = self.marks_of(story)
        self.console.print(_cases_table(self.stories))
        self.console.print(_LEGEND)
        self.console.print(_agreement_table(agreement))
        dead = self.rows(
            "SELECT s.step_key, s.platform, s.code, s.reason FROM steps s WHERE s.state = 'dead_lettered' ORDER BY s.step_key"
        )
        for letter in dead:
            self.console.print(
                f"[red]dead letter[/] {letter['step_key']} ({letter['platform']}): {letter['reason'] or letter['code']}",
                highlight=False,
            )
        if dead:
            self.console.print(
                f"  what a replay would do:  refundflow replay {dead[0]['step_key']}", highlight=False
            )
            self.console.print(
                f"  and do it:               refundflow replay {dead[0]['step_key']} --execute --reason '…'",
                highlight=False,
            )
        bad_scenes = [s for s in self.stories if s.problems]
        for story in bad_scenes:
            for problem in story.problems:
                self.console.print(
                    f"[bold red]{story.scene.name}[/] {story.number}: {problem}", highlight=False
                )
        for row in agreement:
            for difference in row.differences:
                self.console.print(f"[bold red]{row.what}[/]: {difference}", highlight=False)
        verified = self.stack.cli("audit", "verify")
        if self.killed:
            self.console.print(f"killed on purpose: {self.killed}", highlight=False)
        memory = self.stack.supervisor.memory_bytes() // 1_000_000
        self.console.print(
            f"{self.sent} events, {len(self.stories)} scenes, {sum(s.steps for s in self.stories)} steps in {took_s:.1f} s;"
            f" {memory} MB in all processes; audit: {verified.stdout.strip().splitlines()[0] if verified.stdout else verified.stderr}",
            highlight=False,
        )
        agreed = not bad_scenes and all(r.is_agreed for r in agreement) and verified.returncode == 0
        self.console.print(
            Text("The books agree: nothing was lost and nothing was paid twice.", style="bold green")
            if agreed
            else Text("The books do NOT agree; the lines above say where.", style="bold red")
        )
        return agreed

    def marks_of(self, story: Story) -> Text:
        """One letter for each of the case's steps, in the order of the plan, coloured by how it ended."""
        marks = Text()
        for step in self.rows(
            "SELECT s.kind, s.platform, s.state FROM steps s WHERE s.case_id = :case ORDER BY s.wave, s.number",
            case=story.case_id,
        ):
            letter = "S" if step["platform"] == "slack" else _LETTER[step["kind"]]
            marks.append(letter, style=_STEP_STYLE.get(step["state"], "yellow"))
        return marks

    def judge(self, story: Story) -> None:
        """Holds a scene's end against what must come of it."""
        scene = story.scene
        wanted = "complete" if scene.approve else scene.state
        if story.state != wanted:
            story.problems.append(f"ended as {story.state}, must be {wanted}")
        opened = self.rows(
            "SELECT count(*) FILTER (WHERE state <> 'nothing_to_do') AS n FROM cases WHERE order_number = :number",
            number=story.number,
        )
        if opened[0]["n"] != 1:
            story.problems.append(f"{opened[0]['n']} cases about one order, must be 1")
        back = self.rows(
            "SELECT COALESCE(sum(s.amount_minor), 0)::bigint AS minor FROM steps s JOIN cases c USING (case_id)"
            " WHERE c.order_number = :number AND s.action = 'refund' AND s.state = 'succeeded'",
            number=story.number,
        )[0]["minor"]
        due = scene.total if scene.refunded is None else scene.refunded
        if back != due:
            story.problems.append(f"{back} minor units went back, must be {due}")
        dead = self.rows(
            "SELECT count(*) AS n FROM steps s JOIN cases c USING (case_id) WHERE c.order_number = :number"
            " AND s.state = 'dead_lettered'",
            number=story.number,
        )[0]["n"]
        if dead != scene.dead:
            story.problems.append(f"{dead} dead letters, must be {scene.dead}")


def _by_vendor(books: Any) -> dict[str, list[dict[str, Any]]]:
    lines = books.get("book", books) if isinstance(books, dict) else books
    if isinstance(lines, dict):
        return {vendor: list(entries) for vendor, entries in lines.items()}
    sorted_out: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        sorted_out.setdefault(line["vendor"], []).append(line)
    return sorted_out


def _cases_table(stories: list[Story]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("order", "what happens", "case", "state", "steps"):
        table.add_column(column, no_wrap=column in ("order", "case", "steps"))
    for story in stories:
        style = "bold red" if story.problems else _STATE_STYLE.get(story.state, "white")
        table.add_row(
            story.number,
            story.scene.title,
            story.case_id,
            Text(story.state, style=style),
            story.marks,
        )
    return table


def _agreement_table(agreement: list[Row]) -> Table:
    table = Table(
        box=None,
        header_style="bold",
        pad_edge=False,
        title="The vendors' books beside ours",
        title_justify="left",
    )
    for column in ("", "theirs", "ours", ""):
        table.add_column(column)
    for row in agreement:
        table.add_row(
            row.what,
            row.theirs,
            row.ours,
            Text("✓", "green") if row.is_agreed else Text("✗ differ", "bold red"),
        )
    return table


def run_demo(console: Console, home: Path | None = None, chosen: tuple[Scene, ...] = ()) -> int:
    """Plays the demo (all scenes, or those chosen) in a folder of its own; returns the exit code. The folder goes away when
    all went well.
    """
    set_up_logs("ERROR")  # what the servers and the supervisor note is for their logs, not for the report
    folder = home or Path(tempfile.mkdtemp(prefix="refundflow-demo-"))
    console.print(
        f"Starting PostgreSQL, Redis, practice vendors, ingest, workers, beat and Flower under {folder} …",
        highlight=False,
    )
    started = time.monotonic()
    with Stack(folder) as stack:
        console.print(
            f"ready after {time.monotonic() - started:.1f} s   API {stack.api_url}/openapi.json   Flower {stack.flower_url}"
            f"   practice vendors {stack.sandbox_url}/_sandbox/book",
            highlight=False,
        )
        demo = Demo(stack, console, chosen)
        is_agreed = demo.play()
        flower = "answers" if _flower_answers(stack) else "does not answer"
        console.print(
            f"Flower {flower} at {stack.flower_url}; `refundflow up` keeps such a system running.",
            highlight=False,
        )
        demo.database.close()
    if is_agreed and home is None:
        shutil.rmtree(folder, ignore_errors=True)
    elif not is_agreed:
        console.print(f"logs are kept in {folder / 'logs'}", highlight=False)
    return 0 if is_agreed else 1


def _flower_answers(stack: Stack) -> bool:
    try:
        stack.wait_for(f"{stack.flower_url}/healthcheck", within_s=10)
    except TimeoutError:
        return False
    return True


def run_up(console: Console, home: Path, *, seed: bool) -> int:
    """Keeps the same system running until Ctrl-C, with the demo's world to play in."""
    set_up_logs("WARNING")
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with Stack(home) as stack:
        if seed:
            stack.control("POST", "seed", World(scenes()).seed())
            stack.subscribe()
        order = World(scenes()).number(scenes()[0])
        console.print(
            f"API            {stack.api_url}/openapi.json\nFlower         {stack.flower_url}\n"
            f"practice books {stack.sandbox_url}/_sandbox/book\nlogs           {home / 'logs'}\n\n"
            f"In another shell:\n  . {home / 'environment.sh'}\n  refundflow case list\n  curl -s {stack.api_url}/v1/cancellations"
            f" -H 'Authorization: Bearer {API_KEY}' -H 'Idempotency-Key: try-1' -H 'Content-Type: application/json'"
            f" -d '{json.dumps({'order': order})}'\n\nCtrl-C ends it; what happened stays in {home}.",
            highlight=False,
            soft_wrap=True,
        )
        stop.wait()
        console.print("stopping …")
    return 0
