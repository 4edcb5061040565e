-- +goose Up

-- what of an ended run waits for a person: see run.Attention
ALTER TABLE etl_ledger.run
    ADD COLUMN attention text NOT NULL DEFAULT 'none' CHECK (attention IN ('none', 'apply', 'blocked', 'lost'));
CREATE INDEX run_attention ON etl_ledger.run (pipeline, requested_at, id) WHERE attention <> 'none';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (5, 1);
