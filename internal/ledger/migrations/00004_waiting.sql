-- +goose Up

ALTER TABLE etl_ledger.run
    DROP CONSTRAINT run_status_check,
    ADD CONSTRAINT run_status_check CHECK (status IN ('waiting', 'queued', 'running', 'paused', 'succeeded', 'partial', 'failed', 'cancelled', 'skipped')),
    -- of a run that waits for a newer program: its request as it came, and the latest version of requests that those know who could not read it
    ADD COLUMN unread bytea CHECK (octet_length(unread) <= 1048576),
    ADD COLUMN unread_by bigint;
CREATE INDEX run_waiting ON etl_ledger.run (pipeline, requested_at) WHERE status = 'waiting';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (4, 1);
