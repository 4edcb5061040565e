package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// write changes what the ledger keeps of the run, in one transaction under which the
// lease holds: whoever takes or ends a run locks its row FOR UPDATE, and waits. A beat
// needs less, and waits only for do's own changes to that row, which come last.
func (l *lease) write(ctx context.Context, what string, do func(context.Context, pgx.Tx) error) error {
	const hold = `SELECT true FROM ` + runTable + ` WHERE ` + mine + ` FOR KEY SHARE`
	_, err := retried(ctx, l.ledger, what+" of run "+l.record.ID, func() (struct{}, error) {
		return struct{}{}, l.ledger.inTx(ctx, func(tx pgx.Tx) error {
			held, err := first(ctx, tx, pgx.RowTo[bool], hold, l.args(nil))
			if err != nil {
				return err
			}
			if held == nil {
				return run.ErrFenced
			}
			return do(ctx, tx)
		})
	})
	return err
}

// exec runs statements one after the other.
func exec(ctx context.Context, tx pgx.Tx, args pgx.NamedArgs, statements ...string) error {
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql, args); err != nil {
			return err
		}
	}
	return nil
}

// Plan keeps the key ranges of the run, all unfinished, instead of any before.
func (l *lease) Plan(ctx context.Context, ranges []product.Range) error {
	args := l.args(columnsOf(ranges))
	return l.write(ctx, "keep the plan", func(ctx context.Context, tx pgx.Tx) error {
		return exec(ctx, tx, args, `DELETE FROM `+rangeTable+` WHERE run = @id`,
			`INSERT INTO `+rangeTable+` (run, n, class, after, through)
			SELECT @id, n, class, after, through
			FROM unnest(@classes::text[], @afters::bytea[], @throughs::bytea[]) WITH ORDINALITY AS r (class, after, through, n)`,
			`UPDATE `+runTable+` SET version = version + 1, planned = true WHERE id = @id`)
	})
}

func columnsOf(ranges []product.Range) pgx.NamedArgs {
	classes := make([]string, len(ranges))
	afters, throughs := make([][]byte, len(ranges)), make([][]byte, len(ranges))
	for i, r := range ranges {
		classes[i], afters[i], throughs[i] = string(r.Class), []byte(r.After), []byte(r.Through)
	}
	return pgx.NamedArgs{"classes": classes, "afters": afters, "throughs": throughs}
}

// finish keeps that ranges are finished.
func (l *lease) finish(ctx context.Context, tx pgx.Tx, finished []run.FinishedRange) error {
	if len(finished) == 0 {
		return nil
	}
	ranges := make([]product.Range, len(finished))
	products, rows, matched := make([]int64, len(finished)), make([]int64, len(finished)), make([]int64, len(finished))
	for i, f := range finished {
		ranges[i], products[i], rows[i], matched[i] = f.Range, f.Products, f.Rows, f.Matched
	}
	args := columnsOf(ranges)
	args["id"], args["products"], args["rows"], args["matched"] = l.id, products, rows, matched
	return exec(ctx, tx, args, `
UPDATE `+rangeTable+` r SET finished = true, products = f.products, rows = f.rows, matched = f.matched
FROM unnest(@classes::text[], @afters::bytea[], @throughs::bytea[], @products::bigint[], @rows::bigint[], @matched::bigint[])
	AS f (class, after, through, products, rows, matched)
WHERE r.run = @id AND (r.class, r.after, r.through) = (f.class, f.after, f.through)`)
}

// What Begin does with hands. A difference that is open has been acted on.
const (
	givenHands = `unnest(@products::text[], @kinds::text[], @attempts::integer[]) AS h (product, kind, attempt)`
	takeInHand = `
INSERT INTO ` + handTable + ` (run, product, kind, attempt) SELECT @id, product, kind, attempt FROM ` + givenHands + `
ON CONFLICT (run, product, kind) DO UPDATE SET attempt = excluded.attempt, acted_at = excluded.acted_at`
	actOn = `
UPDATE ` + differenceTable + ` d SET acted_at = now(), acted_by = @id, attempts = h.attempt FROM ` + givenHands + `
WHERE ` + givenOpen + ` AND d.product = h.product AND d.kind = h.kind`
)

// Begin keeps products as being in hand: they are about to be repaired. The open
// difference of one has been acted on.
func (l *lease) Begin(ctx context.Context, hands []run.Hand) error {
	keys, attempts := make([]key, 0, len(hands)), make([]int, 0, len(hands))
	at := make(map[key]int, len(hands))
	for _, h := range hands {
		k := storedKey(h.Key)
		if same, known := at[k]; known {
			attempts[same] = h.Attempt
			continue
		}
		at[k] = len(keys)
		keys, attempts = append(keys, k), append(attempts, h.Attempt)
	}
	args := l.args(keyColumns(keys))
	args["attempts"], args["pipeline"] = attempts, l.ledger.pipeline
	return l.write(ctx, "keep what is in hand", func(ctx context.Context, tx pgx.Tx) error {
		if err := exec(ctx, tx, args, takeInHand); err != nil {
			return err
		}
		open, err := l.ledger.lockDifferences(ctx, tx)
		if err != nil || open == 0 {
			return err
		}
		return exec(ctx, tx, args, actOn)
	})
}

// Resume returns what an earlier process of this run left, nil where it left
// nothing.
func (l *lease) Resume(ctx context.Context) (*run.Checkpoint, error) {
	const (
		look = `
SELECT coalesce(stage, ''), memory, planned, sum.products, sum.rows, sum.matched
FROM ` + runTable + `, (
	SELECT coalesce(sum(products), 0)::bigint AS products, coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(matched), 0)::bigint AS matched
	FROM ` + rangeTable + ` WHERE run = @id AND finished) AS sum
WHERE ` + mine
		unfinished = `SELECT class, after, through FROM ` + rangeTable + ` WHERE run = @id AND NOT finished ORDER BY n`
		inHand     = `SELECT product, kind, attempt FROM ` + handTable + ` WHERE run = @id ORDER BY product, kind`
	)
	return retried(ctx, l.ledger, "resume run "+l.record.ID, func() (*run.Checkpoint, error) {
		args := l.args(nil)
		left, err := first(ctx, l.ledger.pool, scanCheckpoint, look, args)
		if err == nil && left == nil {
			err = run.ErrFenced
		}
		if err != nil {
			return nil, err
		}
		if left.Ranges, err = collect(ctx, l.ledger.pool, scanRange, unfinished, args); err != nil {
			return nil, err
		}
		left.InHand, err = collect(ctx, l.ledger.pool, scanHand, inHand, args)
		if left.Stage == "" && !left.Planned && len(left.InHand) == 0 {
			return nil, err
		}
		return left, err
	})
}

func scanCheckpoint(row pgx.CollectableRow) (c run.Checkpoint, err error) {
	var memory []byte
	err = row.Scan(&c.Stage, &memory, &c.Planned, &c.Products, &c.Rows, &c.Matched)
	c.Memory = memory
	return c, err
}

func scanRange(row pgx.CollectableRow) (r product.Range, err error) {
	var after, through []byte
	err = row.Scan(&r.Class, &after, &through)
	r.After, r.Through = product.ID(after), product.ID(through)
	return r, err
}

func scanHand(row pgx.CollectableRow) (h run.Hand, err error) {
	err = row.Scan(&h.ID, &h.Kind, &h.Attempt)
	return h, err
}

// Judged returns those of ids, by kind, that have an outcome of this run already: those
// that the run did something about.
func (l *lease) Judged(ctx context.Context, ids []product.ID) (map[run.Key]bool, error) {
	const look = `
SELECT coalesce(product, ''), coalesce(kind, '') FROM ` + runTable + ` LEFT JOIN (
	SELECT run, k.product, kind FROM unnest(@products::text[]) AS o (product), LATERAL (
		SELECT * FROM ` + outcomeTable + ` WHERE run = @id AND product = o.product OFFSET 0) AS k) AS judged ON run = id
WHERE ` + mine
	args := l.args(pgx.NamedArgs{"products": storedAll(ids)})
	found, err := retried(ctx, l.ledger, "look up outcomes of run "+l.record.ID, func() ([]run.Key, error) {
		found, err := collect(ctx, l.ledger.pool, scanKey, look, args)
		if err == nil && len(found) == 0 {
			err = run.ErrFenced
		}
		return found, err
	})
	if err != nil {
		return nil, err
	}
	asked := asStored(ids)
	judged := make(map[run.Key]bool)
	for _, k := range found {
		for _, id := range asked[string(k.ID)] {
			if k.Kind != "" {
				judged[run.Key{ID: id, Kind: k.Kind}] = true
			}
		}
	}
	return judged, nil
}

func scanKey(row pgx.CollectableRow) (k run.Key, err error) {
	err = row.Scan(&k.ID, &k.Kind)
	return k, err
}
