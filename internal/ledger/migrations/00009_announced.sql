-- +goose Up

-- since when it is known that the product's own event was consumed, and made no row: nothing is on its way
ALTER TABLE etl_ledger.difference ADD COLUMN announced_at timestamptz;
CREATE INDEX difference_asked ON etl_ledger.difference (pipeline, asked_at) WHERE asked_at IS NOT NULL;
INSERT INTO etl_ledger.compatibility (version, since) VALUES (9, 1);
