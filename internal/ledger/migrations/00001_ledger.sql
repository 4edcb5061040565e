-- +goose Up

-- What nothing looks into is json and not jsonb: it reads back as it was written,
-- and it may hold texts with an escaped NUL, which jsonb refuses.

CREATE TABLE etl.run (
    id              uuid        PRIMARY KEY,
    pipeline        text        NOT NULL CHECK (octet_length(pipeline) <= 200),
    slot            text        NOT NULL CHECK (slot IN ('repair', 'look')),
    status          text        NOT NULL CHECK (status IN ('queued', 'running', 'paused', 'succeeded', 'partial', 'failed', 'cancelled', 'skipped')),
    wanted          text        NOT NULL DEFAULT 'run' CHECK (wanted IN ('run', 'pause', 'cancel')),
    version         bigint      NOT NULL DEFAULT 1,
    -- who asked for what; the columns behind the document are picked by
    request         json        NOT NULL,
    key             text        CHECK (octet_length(key) <= 200),
    trigger         text        NOT NULL CHECK (octet_length(trigger) <= 50),
    mode            text        NOT NULL CHECK (octet_length(mode) <= 50),
    dry_run         boolean     NOT NULL,
    whole           boolean     NOT NULL,
    requested_at    timestamptz NOT NULL,
    expires_at      timestamptz,
    -- who executes it; the fence counts its leases
    owner           text        CHECK (octet_length(owner) <= 200),
    fence           bigint      NOT NULL DEFAULT 0,
    vanished        bigint      NOT NULL DEFAULT 0, -- owners in a row that ended without a word and without a settlement
    lease_until     timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz,
    -- what a person sees of it
    progress        json,
    report          json,
    error           text        CHECK (octet_length(error) <= 2000),
    active_run      uuid,
    -- what another process needs to go on with it
    planned         boolean     NOT NULL DEFAULT false,
    stage           text        CHECK (octet_length(stage) <= 50),
    memory          json,
    -- how many outcomes are kept, and how many more there were
    kept            bigint      NOT NULL DEFAULT 0,
    dropped         bigint      NOT NULL DEFAULT 0,
    dropped_missing bigint      NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX run_active ON etl.run (pipeline, slot) WHERE status IN ('queued', 'running', 'paused');
CREATE UNIQUE INDEX run_key ON etl.run (pipeline, key) WHERE key IS NOT NULL;
CREATE INDEX run_requested ON etl.run (pipeline, requested_at, id);
CREATE INDEX run_finished ON etl.run (pipeline, finished_at);
COMMENT ON TABLE etl.run IS 'Runs of the ETL service that were asked for, the active and the finished ones.';

CREATE TABLE etl.key_range (
    run      uuid    NOT NULL REFERENCES etl.run ON DELETE CASCADE,
    n        integer NOT NULL,
    class    text    NOT NULL CHECK (octet_length(class) <= 50),
    -- bytea, because a bound must come back exactly, and a key may be any bytes
    after    bytea   NOT NULL,
    through  bytea   NOT NULL,
    finished boolean NOT NULL DEFAULT false,
    products bigint  NOT NULL DEFAULT 0,
    rows     bigint  NOT NULL DEFAULT 0,
    matched  bigint  NOT NULL DEFAULT 0,
    PRIMARY KEY (run, n)
);
COMMENT ON TABLE etl.key_range IS 'Parts of the catalogue that active runs compare one by one.';

CREATE TABLE etl.in_hand (
    run     uuid NOT NULL REFERENCES etl.run ON DELETE CASCADE,
    product text COLLATE "C" NOT NULL CHECK (octet_length(product) <= 2600),
    PRIMARY KEY (run, product)
);
COMMENT ON TABLE etl.in_hand IS 'Products that active runs are repairing.';

CREATE TABLE etl.outcome (
    run         uuid        NOT NULL REFERENCES etl.run ON DELETE CASCADE,
    product     text        COLLATE "C" NOT NULL CHECK (octet_length(product) <= 2600),
    kind        text        COLLATE "C" NOT NULL CHECK (octet_length(kind) <= 50),
    state       text        NOT NULL CHECK (octet_length(state) <= 50),
    column_name text        NOT NULL CHECK (octet_length(column_name) <= 200),
    reason      text        NOT NULL CHECK (octet_length(reason) <= 1000),
    fields      json,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, product, kind)
);
CREATE INDEX outcome_history ON etl.outcome (product, at);
COMMENT ON TABLE etl.outcome IS 'What became of single products in a run.';

CREATE TABLE etl.switch (
    pipeline   text        PRIMARY KEY CHECK (octet_length(pipeline) <= 200),
    is_on      boolean     NOT NULL,
    changed_by text        NOT NULL CHECK (octet_length(changed_by) <= 200),
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE etl.switch IS 'Whether scheduled runs are wanted.';

CREATE TABLE etl.health (
    pipeline text        NOT NULL CHECK (octet_length(pipeline) <= 200),
    at       timestamptz NOT NULL,
    healthy  boolean     NOT NULL,
    document json        NOT NULL,
    PRIMARY KEY (pipeline, at)
);
COMMENT ON TABLE etl.health IS 'Results of scheduled health checks.';
