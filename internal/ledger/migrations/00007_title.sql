-- +goose Up

-- what a product is called, for the people who read of it; empty where nobody has seen it
ALTER TABLE etl_ledger.difference ADD COLUMN title text NOT NULL DEFAULT '';
ALTER TABLE etl_ledger.outcome ADD COLUMN title text NOT NULL DEFAULT '';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (7, 1);
