-- Tokens that workers share, encrypted by the application (the key is not in this database); one row a platform.
CREATE TABLE tokens (
    name       text PRIMARY KEY,
    sealed     bytea NOT NULL,
    updated_at timestamptz NOT NULL
);

-- How far each platform that is polled has been read. `due_at`: when it is looked at next.
CREATE TABLE poll_cursors (
    platform      text PRIMARY KEY,
    cursor        text NOT NULL DEFAULT '',
    due_at        timestamptz NOT NULL,
    polled_at     timestamptz,
    last_event_at timestamptz,
    last_error    text NOT NULL DEFAULT '',
    last_error_at timestamptz
);
