-- +goose Up

-- run and new_run name runs that may have been removed since
CREATE TABLE etl_ledger.action (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text        NOT NULL CHECK (octet_length(pipeline) <= 200),
    at       timestamptz NOT NULL DEFAULT now(),
    deed     text        NOT NULL CHECK (octet_length(deed) <= 50),
    actor    text        NOT NULL CHECK (octet_length(actor) <= 2000),
    trigger  text        NOT NULL CHECK (octet_length(trigger) <= 50),
    run      uuid,
    new_run  uuid
);
CREATE INDEX action_at ON etl_ledger.action (pipeline, at, id);
CREATE INDEX action_run ON etl_ledger.action (run, at, id) WHERE run IS NOT NULL;
COMMENT ON TABLE etl_ledger.action IS 'Who steered runs and the scheduler, and when.';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (6, 1);
