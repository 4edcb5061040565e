package ledger

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// lockDifferences keeps others from changing differences of the pipeline until the
// transaction ends, so that no two of them wait for each other, and returns how many
// are open. A run's own row is locked before it.
func (l *Ledger) lockDifferences(ctx context.Context, tx pgx.Tx) (open int64, err error) {
	const lock = `
INSERT INTO ` + pipelineTable + ` AS p (pipeline) VALUES (@pipeline) ON CONFLICT (pipeline) DO UPDATE SET open = p.open RETURNING open`
	err = tx.QueryRow(ctx, lock, pgx.NamedArgs{"pipeline": l.pipeline}).Scan(&open)
	return open, err
}

// setOpen keeps differences as open, changed as of now.
const setOpen = `
INSERT INTO ` + differenceTable + ` AS d (pipeline, product, title, kind, state, column_name, reason, fields,
	opened_at, opened_by, changed_at, changed_by, acted_at, acted_by, attempts)
SELECT @pipeline, product, title, kind, state, column_name, reason::jsonb, fields::json,
	now(), @id, now(), @id, CASE WHEN attempts > 0 THEN now() END, CASE WHEN attempts > 0 THEN @id::uuid END, attempts
FROM `

// inPlace is what setOpen does with a difference that is known, open or closed.
const inPlace = `
ON CONFLICT (pipeline, product, kind) DO UPDATE SET title = coalesce(nullif(excluded.title, ''), d.title),
	state = excluded.state, column_name = excluded.column_name, reason = excluded.reason, fields = excluded.fields,
	changed_at = excluded.changed_at, changed_by = excluded.changed_by,
	opened_at = CASE WHEN d.closed_at IS NULL THEN d.opened_at ELSE excluded.opened_at END,
	opened_by = CASE WHEN d.closed_at IS NULL THEN d.opened_by ELSE excluded.opened_by END,
	closed_at = NULL, closed_by = NULL,
	acted_at = coalesce(excluded.acted_at, d.acted_at), acted_by = coalesce(excluded.acted_by, d.acted_by),
	attempts = CASE WHEN excluded.attempts > 0 THEN excluded.attempts ELSE d.attempts END`

// givenOpen is true of those open differences d that have one of the keys.
const givenOpen = `d.ctid = ANY(ARRAY(SELECT open.ctid FROM ` + givenKeys + `, LATERAL (
	SELECT ctid FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND product = o.product AND kind = o.kind AND closed_at IS NULL OFFSET 0) AS open))`

// findStanding finds the given rows that are open already, and whether nothing is new about
// them. When something is, or until when, is nothing new.
const findStanding = `
SELECT o.product, o.kind, o.attempts = 0
	AND o.title IN ('', d.title) AND (d.state, d.column_name, d.reason - '{since,until}'::text[], d.fields::text)
	IS NOT DISTINCT FROM (o.state, o.column_name, o.reason::jsonb - '{since,until}'::text[], o.fields)
FROM ` + given + ` JOIN ` + differenceTable + ` d ON d.product = o.product AND d.kind = o.kind
WHERE ` + givenOpen

// openDifferences opens or changes the differences that stand. One that is known as
// it is costs no write.
func (l *lease) openDifferences(ctx context.Context, tx pgx.Tx, rows []outcomeRow, now *tally) error {
	open := make([]outcomeRow, 0, len(rows))
	for _, row := range rows {
		if row.open {
			open = append(open, row)
		}
	}
	if len(open) == 0 {
		return nil
	}
	standing, err := l.standing(ctx, tx, open)
	if err != nil {
		return err
	}
	written := open[:0]
	for _, row := range open {
		same, stands := standing[row.key]
		switch {
		case same:
		case stands:
			written = append(written, row)
		case now.open < l.ledger.maxDifferences:
			now.open++
			written = append(written, row)
		default:
			now.dropped++
		}
	}
	if len(written) == 0 {
		return nil
	}
	args := columnsOfRows(written)
	args["id"], args["pipeline"] = l.id, l.ledger.pipeline
	return exec(ctx, tx, args, setOpen+given+inPlace)
}

// standing are those of the rows that are open, true where nothing is new about them.
func (l *lease) standing(ctx context.Context, tx pgx.Tx, rows []outcomeRow) (map[key]bool, error) {
	args := columnsOfRows(rows)
	args["pipeline"] = l.ledger.pipeline
	found, err := tx.Query(ctx, findStanding, args)
	if err != nil {
		return nil, err
	}
	standing := make(map[key]bool)
	var k key
	var same bool
	_, err = pgx.ForEachRow(found, []any{&k.product, &k.kind, &same}, func() error {
		standing[k] = same
		return nil
	})
	return standing, err
}

// closeDifferences closes those that do not stand any more.
func (l *lease) closeDifferences(ctx context.Context, tx pgx.Tx, rows []outcomeRow, now *tally) error {
	var closed []outcomeRow
	for _, row := range rows {
		if !row.open {
			closed = append(closed, row)
		}
	}
	if len(closed) == 0 || now.open == 0 {
		return nil
	}
	const set = `
UPDATE ` + differenceTable + ` d SET closed_at = now(), closed_by = @id,
	acted_at = CASE WHEN o.attempts > 0 THEN now() ELSE acted_at END,
	acted_by = CASE WHEN o.attempts > 0 THEN @id::uuid ELSE acted_by END,
	attempts = CASE WHEN o.attempts > 0 THEN o.attempts ELSE d.attempts END
FROM unnest(@products::text[], @kinds::text[], @attempts::integer[]) AS o (product, kind, attempts)
WHERE ` + givenOpen + ` AND d.product = o.product AND d.kind = o.kind`
	args := columnsOfRows(closed)
	args["id"], args["pipeline"] = l.id, l.ledger.pipeline
	tag, err := tx.Exec(ctx, set, args)
	now.open -= tag.RowsAffected()
	return err
}

// abandon closes the books of a run that ends. What is in hand may have been acted on
// until now, and nobody has looked since, so it stays open however many are.
func (l *Ledger) abandon(ctx context.Context, tx pgx.Tx, id pgtype.UUID) error {
	reason, err := reasonDocument(run.Reason{Code: run.ReasonUnproved})
	if err != nil {
		return err
	}
	if _, err := l.lockDifferences(ctx, tx); err != nil {
		return err
	}
	const (
		count = `
UPDATE ` + pipelineTable + ` SET open = open + (SELECT count(*) FROM ` + handTable + ` h WHERE run = @id AND NOT EXISTS (
	SELECT FROM ` + differenceTable + ` d WHERE d.pipeline = @pipeline AND d.product = h.product AND d.kind = h.kind AND d.closed_at IS NULL))
WHERE pipeline = @pipeline`
		hands = `(SELECT product, '', kind, @state::text, '', @reason::text, NULL, greatest(attempt, 1) FROM ` + handTable + ` WHERE run = @id)
	AS o (product, title, kind, state, column_name, reason, fields, attempts)`
	)
	args := pgx.NamedArgs{"id": id, "pipeline": l.pipeline, "state": string(run.InFlight), "reason": reason}
	return exec(ctx, tx, args, count, setOpen+hands+inPlace,
		`UPDATE `+runTable+` SET memory = NULL WHERE id = @id AND memory IS NOT NULL`,
		`DELETE FROM `+handTable+` WHERE run = @id`,
		`DELETE FROM `+rangeTable+` WHERE run = @id`)
}

// Known returns what is open of these products. What another run has in hand may be on
// its way, and is known as that.
func (l *lease) Known(ctx context.Context, ids []product.ID) ([]run.Standing, error) {
	const look = `
SELECT coalesce(d.product, h.product), coalesce(d.kind, h.kind), coalesce(d.state, @in_flight),
	coalesce(d.opened_at, h.acted_at), greatest(d.acted_at, h.acted_at), CASE WHEN d.acted_by = @id THEN d.attempts ELSE 0 END,
	d.announced_at IS NOT NULL
FROM (
	SELECT k.* FROM unnest(@products::text[]) AS o (product), LATERAL (
		SELECT * FROM ` + differenceTable + ` WHERE pipeline = @pipeline AND product = o.product AND closed_at IS NULL OFFSET 0) AS k) AS d
FULL JOIN (
	SELECT product, kind, max(acted_at) AS acted_at FROM ` + handTable + ` WHERE product = ANY(@products) AND run IN (
		SELECT id FROM ` + runTable + ` WHERE pipeline = @pipeline AND status IN ('queued', 'running', 'paused') AND id <> @id)
	GROUP BY product, kind) AS h ON d.product = h.product AND d.kind = h.kind`
	asked := asStored(ids)
	args := pgx.NamedArgs{"id": l.id, "pipeline": l.ledger.pipeline, "products": slices.Collect(maps.Keys(asked)), "in_flight": string(run.InFlight)}
	found, err := retried(ctx, l.ledger, "look up what is open", func() ([]run.Standing, error) {
		return collect(ctx, l.ledger.pool, scanStanding, look, args)
	})
	if err != nil {
		return nil, err
	}
	known := make([]run.Standing, 0, len(found))
	for _, s := range found {
		for _, id := range asked[string(s.ID)] {
			s.ID = id
			known = append(known, s)
		}
	}
	return known, nil
}

// Open returns a page of the pipeline's open differences, ordered by id and kind,
// behind the given one; at most limit. An id that no column holds comes as it is kept.
func (l *lease) Open(ctx context.Context, after run.Key, limit int) ([]run.Standing, error) {
	const list = `
SELECT product, kind, state, opened_at, acted_at, CASE WHEN acted_by = @id THEN attempts ELSE 0 END, announced_at IS NOT NULL
FROM ` + differenceTable + `
WHERE pipeline = @pipeline AND closed_at IS NULL AND (product, kind) > (@product, @kind)
ORDER BY product, kind LIMIT @limit`
	behind := storedKey(after)
	args := pgx.NamedArgs{"id": l.id, "pipeline": l.ledger.pipeline, "product": behind.product, "kind": behind.kind, "limit": limit}
	return retried(ctx, l.ledger, "list what is open", func() ([]run.Standing, error) {
		return collect(ctx, l.ledger.pool, scanStanding, list, args)
	})
}

func scanStanding(row pgx.CollectableRow) (s run.Standing, err error) {
	var acted *time.Time
	err = row.Scan(&s.ID, &s.Kind, &s.State, &s.Opened, &acted, &s.Attempts, &s.Announced)
	s.Opened, s.Acted = s.Opened.UTC(), utc(acted)
	return s, err
}
