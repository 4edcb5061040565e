-- +goose Up

-- What nothing looks into is json and not jsonb: it reads back as it was written,
-- and it may hold texts with an escaped NUL, which jsonb refuses.

CREATE TABLE etl_ledger.compatibility (
    version bigint PRIMARY KEY,
    since   bigint NOT NULL CHECK (since <= version)
);
COMMENT ON TABLE etl_ledger.compatibility IS 'Which programs can use each version of this schema: those that know version since or a later one.';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (1, 1);

CREATE TABLE etl_ledger.pipeline (
    pipeline text   PRIMARY KEY CHECK (octet_length(pipeline) <= 200),
    open     bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE etl_ledger.pipeline IS 'How many differences of a pipeline are open. Whoever opens, changes or closes some locks its row first.';

CREATE TABLE etl_ledger.run (
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
    whole           boolean     NOT NULL, -- it looks at the whole catalogue
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
    -- how many outcomes are kept, and how many open differences were too many to be kept
    kept            bigint      NOT NULL DEFAULT 0,
    dropped         bigint      NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX run_active ON etl_ledger.run (pipeline, slot) WHERE status IN ('queued', 'running', 'paused');
CREATE UNIQUE INDEX run_key ON etl_ledger.run (pipeline, key) WHERE key IS NOT NULL;
CREATE INDEX run_requested ON etl_ledger.run (pipeline, requested_at, id);
CREATE INDEX run_finished ON etl_ledger.run (pipeline, finished_at);
COMMENT ON TABLE etl_ledger.run IS 'Runs of the ETL service that were asked for, the active and the finished ones.';

-- What belongs to a run does not refer to it, because that would be checked row by row:
-- whatever ends a run, or removes one, removes that too.

CREATE TABLE etl_ledger.key_range (
    run      uuid    NOT NULL,
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
COMMENT ON TABLE etl_ledger.key_range IS 'Parts of the catalogue that active runs compare one by one.';

CREATE TABLE etl_ledger.in_hand (
    run      uuid        NOT NULL,
    product  text        COLLATE "C" NOT NULL CHECK (octet_length(product) <= 2300),
    kind     text        COLLATE "C" NOT NULL CHECK (octet_length(kind) <= 50),
    attempt  integer     NOT NULL,
    acted_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, product, kind)
);
COMMENT ON TABLE etl_ledger.in_hand IS 'Products that active runs are repairing.';

CREATE TABLE etl_ledger.outcome (
    run         uuid        NOT NULL,
    product     text        COLLATE "C" NOT NULL CHECK (octet_length(product) <= 2300),
    kind        text        COLLATE "C" NOT NULL CHECK (octet_length(kind) <= 50),
    state       text        COLLATE "C" NOT NULL CHECK (octet_length(state) <= 50),
    column_name text        NOT NULL CHECK (octet_length(column_name) <= 200),
    reason      jsonb       NOT NULL,
    fields      json,
    attempts    integer     NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, product, kind)
);
CREATE INDEX outcome_history ON etl_ledger.outcome (product, at);
COMMENT ON TABLE etl_ledger.outcome IS 'What runs did about single products.';

-- run, opened_by and the like name runs that may have been removed since.
CREATE TABLE etl_ledger.difference (
    pipeline    text        COLLATE "C" NOT NULL CHECK (octet_length(pipeline) <= 200),
    product     text        COLLATE "C" NOT NULL CHECK (octet_length(product) <= 2300),
    kind        text        COLLATE "C" NOT NULL CHECK (octet_length(kind) <= 50),
    state       text        COLLATE "C" NOT NULL CHECK (octet_length(state) <= 50),
    column_name text        NOT NULL CHECK (octet_length(column_name) <= 200),
    reason      jsonb       NOT NULL,
    fields      json,
    opened_at   timestamptz NOT NULL,
    opened_by   uuid        NOT NULL,
    changed_at  timestamptz NOT NULL,
    changed_by  uuid        NOT NULL,
    closed_at   timestamptz, -- NULL while it is open
    closed_by   uuid,
    -- the last run that repaired it, and how often that run did
    acted_at    timestamptz,
    acted_by    uuid,
    attempts    integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (pipeline, product, kind)
) WITH (fillfactor = 80); -- room for acted_at, which no index has, to change in place
CREATE INDEX difference_open ON etl_ledger.difference (pipeline, product, kind) WHERE closed_at IS NULL;
CREATE INDEX difference_closed ON etl_ledger.difference (pipeline, closed_at) WHERE closed_at IS NOT NULL;
CREATE INDEX difference_state ON etl_ledger.difference (pipeline, state, kind, product) INCLUDE (opened_at, closed_at);
CREATE INDEX difference_changed ON etl_ledger.difference (changed_by, product, kind);
CREATE INDEX difference_opened ON etl_ledger.difference (opened_by, product, kind) WHERE opened_by <> changed_by;
COMMENT ON TABLE etl_ledger.difference IS 'Differences between the stores, each once: the open ones, and those that were closed lately.';

CREATE TABLE etl_ledger.look (
    run      uuid        PRIMARY KEY,
    pipeline text        NOT NULL CHECK (octet_length(pipeline) <= 200),
    began    timestamptz NOT NULL,
    products bigint      NOT NULL,
    rows     bigint      NOT NULL
);
CREATE INDEX look_began ON etl_ledger.look (pipeline, began);
COMMENT ON TABLE etl_ledger.look IS 'Complete comparisons of the catalogue.';

CREATE TABLE etl_ledger.gap (
    pipeline text        NOT NULL CHECK (octet_length(pipeline) <= 200),
    minute   timestamptz NOT NULL,
    longest  interval    NOT NULL,
    PRIMARY KEY (pipeline, minute)
);
COMMENT ON TABLE etl_ledger.gap IS 'The longest time from a product''s creation to its event, of each minute of the last hour.';

CREATE TABLE etl_ledger.switch (
    pipeline   text        PRIMARY KEY CHECK (octet_length(pipeline) <= 200),
    is_on      boolean     NOT NULL,
    changed_by text        NOT NULL CHECK (octet_length(changed_by) <= 200),
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE etl_ledger.switch IS 'Whether scheduled runs are wanted.';

CREATE TABLE etl_ledger.health (
    pipeline text        NOT NULL CHECK (octet_length(pipeline) <= 200),
    at       timestamptz NOT NULL,
    healthy  boolean     NOT NULL,
    document json        NOT NULL,
    PRIMARY KEY (pipeline, at)
);
COMMENT ON TABLE etl_ledger.health IS 'Results of scheduled health checks.';
