package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// write changes what the ledger keeps of the run, in one transaction that first
// locks the run's row and makes sure of the lease. set are more columns of the run.
func (l *lease) write(ctx context.Context, what, set string, args pgx.NamedArgs, then func(context.Context, pgx.Tx) error) error {
	sql := "UPDATE etl.run SET version = version + 1, " + set + " WHERE " + mine
	_, err := retried(ctx, l.ledger, what+" of run "+l.record.ID, func() (struct{}, error) {
		return struct{}{}, l.ledger.inTx(ctx, func(tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, sql, args)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return run.ErrFenced
			}
			return then(ctx, tx)
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
	columns := columnsOf(ranges)
	return l.write(ctx, "keep the plan", "planned = true", l.args(columns), func(ctx context.Context, tx pgx.Tx) error {
		return exec(ctx, tx, l.args(columns), `DELETE FROM etl.key_range WHERE run = @id`,
			`INSERT INTO etl.key_range (run, n, class, after, through)
			SELECT @id, n, class, after, through
			FROM unnest(@classes::text[], @afters::bytea[], @throughs::bytea[]) WITH ORDINALITY AS r (class, after, through, n)`)
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

// Begin keeps the products that are about to be repaired as being in hand. They are
// not merely found any more.
func (l *lease) Begin(ctx context.Context, s run.Stage, ids []product.ID) error {
	args := l.args(pgx.NamedArgs{"stage": string(s), "products": storedAll(ids)})
	return l.write(ctx, "keep what is in hand", "stage = @stage", args, func(ctx context.Context, tx pgx.Tx) error {
		return exec(ctx, tx, args,
			`WITH begun AS (
				DELETE FROM etl.outcome WHERE run = @id AND product = ANY(@products) AND kind = 'missing' AND state = 'found' RETURNING 1)
			UPDATE etl.run SET kept = kept - (SELECT count(*) FROM begun) WHERE id = @id`,
			`INSERT INTO etl.in_hand (run, product) SELECT @id, unnest(@products::text[]) ON CONFLICT DO NOTHING`)
	})
}

// Settle keeps what a window led to, all of it or nothing. A memory or a report that
// is nil leaves the one before.
func (l *lease) Settle(ctx context.Context, s run.Settlement) error {
	const what = "settle a window"
	report, err := reportDocument(s.Report)
	if err != nil {
		return fmt.Errorf("%s of run %s: %w", what, l.record.ID, err)
	}
	rows, err := outcomeRows(s.Outcomes)
	if err != nil {
		return fmt.Errorf("%s of run %s: %w", what, l.record.ID, err)
	}
	var memory *string
	if s.Memory != nil {
		text := string(s.Memory)
		memory = &text
	}
	args := l.args(pgx.NamedArgs{"stage": string(s.Stage), "memory": memory, "report": report})
	set := "vanished = 0, stage = @stage, memory = coalesce(@memory, memory), report = coalesce(@report, report)"
	return l.write(ctx, what, set, args, func(ctx context.Context, tx pgx.Tx) error {
		statements := []string{`DELETE FROM etl.in_hand WHERE run = @id`}
		if s.Restart {
			statements = append(statements,
				`DELETE FROM etl.outcome WHERE run = @id`,
				`UPDATE etl.run SET kept = 0, dropped = 0, dropped_missing = 0 WHERE id = @id`,
				`UPDATE etl.key_range SET finished = false, products = 0, rows = 0, matched = 0 WHERE run = @id AND finished`)
		}
		if err := exec(ctx, tx, args, statements...); err != nil {
			return err
		}
		if err := l.keep(ctx, tx, rows); err != nil {
			return err
		}
		return l.finish(ctx, tx, s.Finished)
	})
}

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
UPDATE etl.key_range r SET finished = true, products = f.products, rows = f.rows, matched = f.matched
FROM unnest(@classes::text[], @afters::bytea[], @throughs::bytea[], @products::bigint[], @rows::bigint[], @matched::bigint[])
	AS f (class, after, through, products, rows, matched)
WHERE r.run = @id AND (r.class, r.after, r.through) = (f.class, f.after, f.through)`)
}

// Resume returns what an earlier process of this run left, nil where it left
// nothing.
func (l *lease) Resume(ctx context.Context) (*run.Checkpoint, error) {
	return retried(ctx, l.ledger, "resume run "+l.record.ID, func() (*run.Checkpoint, error) {
		const look = `
SELECT coalesce(stage, ''), memory, planned, sum.products, sum.rows, sum.matched,
	ARRAY(SELECT product FROM etl.in_hand WHERE run = @id ORDER BY product),
	CASE WHEN dropped_missing = 0 THEN
		ARRAY(SELECT product FROM etl.outcome WHERE run = @id AND state = 'found' AND kind = 'missing' ORDER BY product LIMIT @limit + 1) END
FROM etl.run, (
	SELECT coalesce(sum(products), 0)::bigint AS products, coalesce(sum(rows), 0)::bigint AS rows, coalesce(sum(matched), 0)::bigint AS matched
	FROM etl.key_range WHERE run = @id AND finished) AS sum
WHERE ` + mine
		const unfinished = `SELECT class, after, through FROM etl.key_range WHERE run = @id AND NOT finished ORDER BY n`
		args := l.args(pgx.NamedArgs{"limit": run.MaxWindow})
		left, err := first(ctx, l.ledger.pool, scanCheckpoint, look, args)
		switch {
		case err != nil:
			return nil, err
		case left == nil:
			return nil, run.ErrFenced
		case left.Stage == "" && !left.Planned:
			return nil, nil
		}
		if len(left.Missing) > run.MaxWindow {
			left.Missing = nil
		}
		left.Ranges, err = collect(ctx, l.ledger.pool, scanRange, unfinished, args)
		return left, err
	})
}

func scanCheckpoint(row pgx.CollectableRow) (c run.Checkpoint, err error) {
	var memory []byte
	err = row.Scan(&c.Stage, &memory, &c.Planned, &c.Products, &c.Rows, &c.Matched, &c.InHand, &c.Missing)
	c.Memory = memory
	return c, err
}

func scanRange(row pgx.CollectableRow) (r product.Range, err error) {
	var after, through []byte
	err = row.Scan(&r.Class, &after, &through)
	r.After, r.Through = product.ID(after), product.ID(through)
	return r, err
}

// Judged returns those of ids that have an outcome already.
func (l *lease) Judged(ctx context.Context, ids []product.ID) (map[product.ID]bool, error) {
	const look = `
SELECT ARRAY(SELECT DISTINCT product FROM etl.outcome WHERE run = @id AND product = ANY(@products)) FROM etl.run WHERE ` + mine
	args := l.args(pgx.NamedArgs{"products": storedAll(ids)})
	found, err := retried(ctx, l.ledger, "look up outcomes of run "+l.record.ID, func() (*[]string, error) {
		found, err := first(ctx, l.ledger.pool, pgx.RowTo[[]string], look, args)
		if err == nil && found == nil {
			err = run.ErrFenced
		}
		return found, err
	})
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(*found))
	for _, id := range *found {
		known[id] = true
	}
	judged := make(map[product.ID]bool)
	for _, id := range ids {
		if known[stored(id)] {
			judged[id] = true
		}
	}
	return judged, nil
}
