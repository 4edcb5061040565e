-- +goose Up

CREATE TABLE etl_ledger.notice (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text        COLLATE "C" NOT NULL CHECK (octet_length(pipeline) <= 200),
    subject  text        COLLATE "C" NOT NULL CHECK (octet_length(subject) <= 200),
    event    text        COLLATE "C" NOT NULL CHECK (octet_length(event) <= 50),
    at       timestamptz NOT NULL DEFAULT now(),
    text     text        NOT NULL CHECK (octet_length(text) <= 4000),
    run      uuid,
    attempts integer     NOT NULL DEFAULT 0,
    due_at   timestamptz DEFAULT now(), -- NULL once it was told, or given up
    told_at  timestamptz,
    problem  text        NOT NULL DEFAULT '' CHECK (octet_length(problem) <= 2000)
);
CREATE INDEX notice_due ON etl_ledger.notice (pipeline, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notice_subject ON etl_ledger.notice (pipeline, subject, id);
CREATE INDEX notice_at ON etl_ledger.notice (pipeline, at);
COMMENT ON TABLE etl_ledger.notice IS 'What people are to hear of, and whether they have.';
INSERT INTO etl_ledger.compatibility (version, since) VALUES (11, 1);
