-- When a step that is held for done is asked about once more (null: never again). The index follows what waits for its look.
ALTER TABLE steps ADD COLUMN look_again_at timestamptz;
CREATE INDEX steps_to_look_at_again ON steps (look_again_at) WHERE look_again_at IS NOT NULL;

-- What each source told last, without reading all that it ever told.
CREATE INDEX events_of_source ON events (source, received_at DESC);
