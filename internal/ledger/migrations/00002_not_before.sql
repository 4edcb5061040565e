-- +goose Up

ALTER TABLE etl_ledger.run ADD COLUMN not_before timestamptz; -- of a run that was handed back: when a worker may take it up again
INSERT INTO etl_ledger.compatibility (version, since) VALUES (2, 1);
