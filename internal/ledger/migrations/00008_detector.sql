-- +goose Up

-- of a difference that a detector has found: when a run is to repair it, NULL where none has to be asked for, and when
-- one was asked for
ALTER TABLE etl_ledger.difference
    ADD COLUMN due_at timestamptz,
    ADD COLUMN asked_at timestamptz;
CREATE INDEX difference_due ON etl_ledger.difference (pipeline, due_at) WHERE due_at IS NOT NULL;

CREATE TABLE etl_ledger.detector (
    pipeline    text        NOT NULL CHECK (octet_length(pipeline) <= 200),
    name        text        NOT NULL CHECK (octet_length(name) <= 50),
    -- who does its work, where one process does it for all
    owner       text        NOT NULL DEFAULT '' CHECK (octet_length(owner) <= 200),
    lease_until timestamptz,
    mark        timestamptz, -- everything created before it has been compared
    looked_at   timestamptz, -- of the last look that succeeded
    problem     text        NOT NULL DEFAULT '' CHECK (octet_length(problem) <= 2000),
    checked     bigint      NOT NULL DEFAULT 0, -- products, since ever
    differing   bigint      NOT NULL DEFAULT 0, -- of these
    PRIMARY KEY (pipeline, name)
);
COMMENT ON TABLE etl_ledger.detector IS 'What finds lost events beside the runs: how far each has come.';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (8, 1);
