-- +goose Up

CREATE TABLE etl_ledger.sample (
    pipeline text        COLLATE "C" NOT NULL CHECK (octet_length(pipeline) <= 200),
    at       timestamptz NOT NULL, -- the hour
    -- the most that was open of each kind, and in the state blocked
    missing  bigint      NOT NULL,
    stale    bigint      NOT NULL,
    orphaned bigint      NOT NULL,
    blocked  bigint      NOT NULL,
    -- the worst that was seen of the way of events, the larger the worse; 0 is none
    delivery smallint    NOT NULL,
    lag      interval    NOT NULL, -- of the detectors
    PRIMARY KEY (pipeline, at)
);
COMMENT ON TABLE etl_ledger.sample IS 'How the cart stood in each hour.';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (10, 1);
