-- All times are timestamptz. Amounts are integers in the currency's minor units.
-- Two kinds of rows: states that move (cases, steps, payments) and words that stay (events, attempts, audit, journal).

-- A chain per table and case: each row carries the hash of the one before it, so a changed, dropped or reordered row
-- shows. The head is kept beside the chain, so a cut-off tail shows too.
CREATE TABLE chain_heads (
    chain  text PRIMARY KEY,
    length bigint NOT NULL,
    hash   text NOT NULL
);

CREATE FUNCTION chain_row() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    name text := TG_TABLE_NAME || ':' || NEW.case_id;
    head chain_heads;
BEGIN
    INSERT INTO chain_heads VALUES (name, 0, repeat('0', 64)) ON CONFLICT DO NOTHING;
    SELECT * INTO head FROM chain_heads WHERE chain = name FOR UPDATE;
    NEW.chain_no := head.length + 1;
    NEW.prev_hash := head.hash;
    NEW.hash := encode(sha256(convert_to((to_jsonb(NEW) - 'hash')::text, 'UTF8')), 'hex');
    UPDATE chain_heads SET length = NEW.chain_no, hash = NEW.hash WHERE chain = name;
    RETURN NEW;
END $$;

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TABLE events (
    id              bigserial PRIMARY KEY,
    source          text NOT NULL,
    source_event_id text NOT NULL,
    topic           text NOT NULL,
    headers         jsonb NOT NULL,
    body            bytea NOT NULL,
    is_verified     boolean NOT NULL,
    received_at     timestamptz NOT NULL,
    state           text NOT NULL CHECK (state IN ('new', 'handled', 'ignored', 'unreadable', 'parked')),
    due_at          timestamptz,
    tries           integer NOT NULL DEFAULT 0,
    case_id         text,
    note            text NOT NULL DEFAULT '',
    task_id         text NOT NULL DEFAULT '',
    handled_at      timestamptz,
    UNIQUE (source, source_event_id),
    CHECK ((state = 'new') = (due_at IS NOT NULL))
);
CREATE INDEX events_due ON events (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX events_of_case ON events (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX events_of_task ON events (task_id) WHERE task_id <> '';

CREATE TABLE cases (
    case_id      text PRIMARY KEY,
    platform     text NOT NULL,
    order_id     text NOT NULL,
    order_number text NOT NULL DEFAULT '',
    state        text NOT NULL CHECK (state IN ('running', 'held', 'attention', 'complete', 'declined', 'nothing_to_do')),
    wanted       jsonb NOT NULL,
    why          text NOT NULL DEFAULT '',
    currency     text NOT NULL DEFAULT '',
    requested_by text NOT NULL DEFAULT '',
    opened_at    timestamptz NOT NULL,
    closed_at    timestamptz,
    due_at       timestamptz,
    facts_id     bigint,
    decision_id  bigint,
    CHECK ((state IN ('complete', 'declined', 'nothing_to_do')) = (closed_at IS NOT NULL))
);
CREATE UNIQUE INDEX one_open_case_per_order ON cases (platform, order_id) WHERE closed_at IS NULL;
CREATE INDEX cases_of_order ON cases (platform, order_id, opened_at DESC);
CREATE INDEX cases_due ON cases (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX cases_by_state ON cases (state, opened_at DESC);

CREATE TABLE case_sources (
    case_id   text NOT NULL REFERENCES cases,
    event_id  bigint NOT NULL REFERENCES events,
    source    text NOT NULL,
    how       text NOT NULL,
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (case_id, event_id)
);

CREATE TABLE facts (
    id      bigserial PRIMARY KEY,
    case_id text NOT NULL REFERENCES cases,
    read_at timestamptz NOT NULL,
    facts   jsonb NOT NULL
);
CREATE INDEX facts_of_case ON facts (case_id);

CREATE TABLE decisions (
    id          bigserial PRIMARY KEY,
    case_id     text NOT NULL REFERENCES cases,
    facts_id    bigint NOT NULL REFERENCES facts,
    wanted      jsonb NOT NULL,
    policy      jsonb NOT NULL,
    routing     jsonb NOT NULL,
    approved_by text NOT NULL DEFAULT '',
    decision    jsonb NOT NULL,
    decided_at  timestamptz NOT NULL
);
CREATE INDEX decisions_of_case ON decisions (case_id);

CREATE TABLE payments (
    payment_id        text PRIMARY KEY,
    platform          text NOT NULL,
    reference         text NOT NULL,
    order_platform    text NOT NULL,
    order_id          text NOT NULL,
    currency          text NOT NULL,
    authorised        bigint NOT NULL CHECK (authorised >= 0),
    captured          bigint NOT NULL CHECK (captured >= 0),
    external          bigint NOT NULL DEFAULT 0 CHECK (external >= 0),
    reserved          bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    settled           bigint NOT NULL DEFAULT 0 CHECK (settled >= 0),
    dispute           text NOT NULL DEFAULT 'none' CHECK (dispute IN ('none', 'warning', 'open', 'won', 'lost')),
    dispute_reference text NOT NULL DEFAULT '',
    updated_at        timestamptz NOT NULL,
    CONSTRAINT money_out_within_captured CHECK (reserved + settled <= captured)
);
CREATE INDEX payments_of_reference ON payments (reference);
CREATE INDEX payments_of_order ON payments (order_platform, order_id);

CREATE TABLE steps (
    step_key          text PRIMARY KEY,
    case_id           text NOT NULL REFERENCES cases,
    number            integer NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('cancel_order', 'restock', 'refund', 'post_ledger', 'notify', 'human_task')),
    action            text NOT NULL,
    platform          text NOT NULL,
    command           jsonb NOT NULL,
    state             text NOT NULL CHECK (state IN ('planned', 'in_flight', 'succeeded', 'pending', 'retry_scheduled',
                                                     'unknown', 'dead_lettered', 'skipped', 'reversed')),
    needs             text[] NOT NULL,
    follows           text[] NOT NULL,
    uses              jsonb NOT NULL,
    wave              integer NOT NULL,
    amount_minor      bigint CHECK (amount_minor >= 0),
    currency          text,
    payment_id        text REFERENCES payments,
    reference         text NOT NULL DEFAULT '',
    detail            text NOT NULL DEFAULT '',
    code              text NOT NULL DEFAULT '',
    reason            text NOT NULL DEFAULT '',
    attempts          integer NOT NULL DEFAULT 0,
    crashes           integer NOT NULL DEFAULT 0,
    looks             integer NOT NULL DEFAULT 0,
    key_number        integer NOT NULL DEFAULT 1,
    may_have_happened boolean NOT NULL DEFAULT false,
    is_reserved       boolean NOT NULL DEFAULT false,
    not_before        timestamptz,
    due_at            timestamptz,
    lease_until       timestamptz,
    claimed_by        text NOT NULL DEFAULT '',
    sent_at           timestamptz,
    planned_at        timestamptz NOT NULL,
    ended_at          timestamptz,
    version           integer NOT NULL DEFAULT 0,
    CHECK ((state = 'in_flight') = (lease_until IS NOT NULL)),
    -- Whatever may still move by itself has a time at which the sweep looks at it; a planned step gets one when released.
    CHECK (state NOT IN ('in_flight', 'retry_scheduled', 'pending', 'unknown') OR due_at IS NOT NULL),
    CHECK (state NOT IN ('succeeded', 'skipped', 'reversed', 'dead_lettered') OR due_at IS NULL)
);
CREATE UNIQUE INDEX steps_of_case ON steps (case_id, number);
CREATE INDEX steps_due ON steps (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX steps_of_payment ON steps (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX steps_dead ON steps (ended_at) WHERE state = 'dead_lettered';
-- At most one refund of a payment is on the wire at a time.
CREATE UNIQUE INDEX one_refund_in_flight_per_payment ON steps (payment_id) WHERE kind = 'refund' AND state = 'in_flight';

CREATE TABLE attempts (
    id        bigserial PRIMARY KEY,
    step_key  text NOT NULL REFERENCES steps,
    case_id   text NOT NULL,
    token     text NOT NULL,
    phase     text NOT NULL CHECK (phase IN ('claimed', 'ended')),
    move      text NOT NULL,
    task_id   text NOT NULL,
    worker    text NOT NULL,
    at        timestamptz NOT NULL,
    outcome   text NOT NULL DEFAULT '',
    code      text NOT NULL DEFAULT '',
    reason    text NOT NULL DEFAULT '',
    reference text NOT NULL DEFAULT '',
    exchanges jsonb NOT NULL DEFAULT '[]',
    chain_no  bigint NOT NULL,
    prev_hash text NOT NULL,
    hash      text NOT NULL,
    UNIQUE (token, phase)
);
CREATE INDEX attempts_of_step ON attempts (step_key, id);
CREATE INDEX attempts_of_task ON attempts (task_id);
CREATE UNIQUE INDEX attempts_chain ON attempts (case_id, chain_no);
CREATE TRIGGER chain BEFORE INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON attempts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON attempts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE audit (
    id        bigserial PRIMARY KEY,
    case_id   text NOT NULL,
    at        timestamptz NOT NULL,
    actor     text NOT NULL,
    event     text NOT NULL,
    step_key  text NOT NULL DEFAULT '',
    detail    jsonb NOT NULL DEFAULT '{}',
    chain_no  bigint NOT NULL,
    prev_hash text NOT NULL,
    hash      text NOT NULL
);
CREATE UNIQUE INDEX audit_chain ON audit (case_id, chain_no);
CREATE TRIGGER chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION chain_row();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE journal_entries (
    id       bigserial PRIMARY KEY,
    case_id  text NOT NULL REFERENCES cases,
    step_key text NOT NULL REFERENCES steps,
    kind     text NOT NULL CHECK (kind IN ('refund', 'refund_reversed')),
    at       timestamptz NOT NULL,
    memo     text NOT NULL,
    UNIQUE (step_key, kind)
);
CREATE TABLE journal_lines (
    entry_id     bigint NOT NULL REFERENCES journal_entries,
    account      text NOT NULL,
    currency     text NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor <> 0),  -- debit positive, credit negative
    PRIMARY KEY (entry_id, account, currency)
);
CREATE INDEX journal_of_case ON journal_entries (case_id);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON journal_entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON journal_lines FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON journal_entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER keep BEFORE TRUNCATE ON journal_lines FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE FUNCTION balance_entry() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entry bigint := COALESCE(to_jsonb(NEW) ->> 'entry_id', to_jsonb(NEW) ->> 'id')::bigint;
    lines integer;
BEGIN
    SELECT count(*) INTO lines FROM journal_lines WHERE entry_id = entry;
    IF lines < 2 THEN
        RAISE EXCEPTION 'journal entry % has % lines, needs two or more', entry, lines USING ERRCODE = 'check_violation';
    END IF;
    IF EXISTS (SELECT 1 FROM journal_lines WHERE entry_id = entry GROUP BY currency HAVING sum(amount_minor) <> 0) THEN
        RAISE EXCEPTION 'journal entry % does not balance', entry USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON journal_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION balance_entry();
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON journal_lines
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION balance_entry();

CREATE TABLE messages_sent (
    case_id     text NOT NULL REFERENCES cases,
    channel     text NOT NULL,
    template    text NOT NULL,
    money_state text NOT NULL,
    step_key    text NOT NULL REFERENCES steps,
    at          timestamptz NOT NULL,
    PRIMARY KEY (case_id, channel, template, money_state)
);

CREATE TABLE approvals (
    id          bigserial PRIMARY KEY,
    case_id     text NOT NULL REFERENCES cases,
    decision_id bigint NOT NULL REFERENCES decisions,
    operator    text NOT NULL,
    verdict     text NOT NULL CHECK (verdict IN ('approve', 'decline')),
    reason      text NOT NULL,
    at          timestamptz NOT NULL,
    UNIQUE (decision_id)
);

CREATE TABLE operators (
    name       text PRIMARY KEY,
    created_at timestamptz NOT NULL
);

CREATE TABLE task_runs (
    task_id    text NOT NULL,
    name       text NOT NULL,
    subject    text NOT NULL,  -- the step, case or event that the task was about
    case_id    text NOT NULL DEFAULT '',
    worker     text NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz NOT NULL,
    outcome    text NOT NULL
);
CREATE INDEX task_runs_of_task ON task_runs (task_id);

CREATE TABLE dead_messages (
    message_id   text PRIMARY KEY,
    reason       text NOT NULL,
    queue        text NOT NULL,
    headers      jsonb NOT NULL,
    body         bytea NOT NULL,
    content_type text NOT NULL,
    died_at      timestamptz NOT NULL,
    state        text NOT NULL DEFAULT 'dead' CHECK (state IN ('dead', 'replayed', 'discarded')),
    note         text NOT NULL DEFAULT ''
);

CREATE TABLE connector_health (
    platform     text PRIMARY KEY,
    paused_until timestamptz,
    last_error   text NOT NULL DEFAULT '',
    last_error_at timestamptz,
    failures     integer NOT NULL DEFAULT 0
);
