-- +goose Up

-- A request may name 10,000 ids. Lists, and what is asked every second, read it without
-- them. A run that an older program has entered has no such document.
ALTER TABLE etl_ledger.run ADD COLUMN brief json;
COMMENT ON COLUMN etl_ledger.run.brief IS 'The request without its ids and with their number, where it has some.';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (3, 1);
