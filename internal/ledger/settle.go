package ledger

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

// Settle keeps what happened since the last settlement, all of it or nothing. A
// memory or a report that is nil leaves the one before.
func (l *lease) Settle(ctx context.Context, s run.Settlement) error {
	const what = "settle what happened"
	report, err := reportDocument(s.Report)
	if err != nil {
		return fmt.Errorf("%s in run %s: %w", what, l.record.ID, err)
	}
	rows, err := outcomeRows(s.Outcomes)
	if err != nil {
		return fmt.Errorf("%s in run %s: %w", what, l.record.ID, err)
	}
	var memory *string
	if s.Memory != nil {
		text := string(s.Memory)
		memory = &text
	}
	args := l.args(pgx.NamedArgs{"stage": string(s.Stage), "memory": memory, "report": report})
	const set = `
UPDATE ` + runTable + ` SET version = version + 1, vanished = 0, stage = @stage, memory = coalesce(@memory, memory), report = coalesce(@report, report),
	kept = @kept, dropped = @dropped WHERE id = @id`
	return l.write(ctx, what, func(ctx context.Context, tx pgx.Tx) error {
		if s.Restart {
			if err := l.restart(ctx, tx); err != nil {
				return err
			}
		}
		now, err := l.settle(ctx, tx, s.Restart, rows, resolvedRows(s.Resolved, rows))
		if err != nil {
			return err
		}
		if err := l.finish(ctx, tx, s.Finished); err != nil {
			return err
		}
		if err := l.looked(ctx, tx, s.Look); err != nil {
			return err
		}
		args["kept"], args["dropped"] = now.kept, now.dropped
		return exec(ctx, tx, args, set)
	})
}

// restart forgets the run's outcomes and that ranges are finished. Open differences
// are facts about the stores, and stay.
func (l *lease) restart(ctx context.Context, tx pgx.Tx) error {
	return exec(ctx, tx, pgx.NamedArgs{"id": l.id},
		`DELETE FROM `+outcomeTable+` WHERE run = @id`,
		`UPDATE `+rangeTable+` SET finished = false, products = 0, rows = 0, matched = 0 WHERE run = @id AND finished`)
}

// tally is how much the ledger keeps.
type tally struct {
	open          int64 // differences of the pipeline
	kept, dropped int64 // outcomes of the run, and differences that were too many
}

// settle keeps outcomes, and closes the differences of those and of resolved ones that
// do not stand any more. It returns how much is kept by now; after a restart the run
// begins with nothing.
func (l *lease) settle(ctx context.Context, tx pgx.Tx, restart bool, rows, resolved []outcomeRow) (now tally, err error) {
	if len(rows)+len(resolved) > 0 {
		if now.open, err = l.ledger.lockDifferences(ctx, tx); err != nil {
			return now, err
		}
	}
	if !restart {
		err = tx.QueryRow(ctx, `SELECT kept, dropped FROM `+runTable+` WHERE id = $1`, l.id).Scan(&now.kept, &now.dropped)
		if err != nil {
			return now, err
		}
	}
	open := now.open
	for batch := range batches(resolved) {
		if err := l.closeDifferences(ctx, tx, batch, &now); err != nil {
			return now, err
		}
	}
	for batch := range batches(rows) {
		for _, keep := range []func(context.Context, pgx.Tx, []outcomeRow, *tally) error{
			l.putDown, l.closeDifferences, l.openDifferences, l.keepOutcomes,
		} {
			if err := keep(ctx, tx, batch, &now); err != nil {
				return now, err
			}
		}
	}
	if now.open == open {
		return now, nil
	}
	return now, exec(ctx, tx, pgx.NamedArgs{"pipeline": l.ledger.pipeline, "open": now.open}, `UPDATE `+pipelineTable+` SET open = @open WHERE pipeline = @pipeline`)
}

// putDown takes products out of hand.
func (l *lease) putDown(ctx context.Context, tx pgx.Tx, rows []outcomeRow, _ *tally) error {
	args := columnsOfRows(rows)
	args["id"] = l.id
	return exec(ctx, tx, args, `
DELETE FROM `+handTable+` WHERE ctid = ANY(ARRAY(SELECT h.ctid FROM `+givenKeys+`, LATERAL (
	SELECT ctid FROM `+handTable+` WHERE run = @id AND product = o.product AND kind = o.kind OFFSET 0) AS h))`)
}

// Bounds of what one statement carries.
const (
	batchRows  = 10_000
	batchBytes = 8 << 20
)

// batches are the rows in parts that a statement carries.
func batches(rows []outcomeRow) iter.Seq[[]outcomeRow] {
	return func(yield func([]outcomeRow) bool) {
		for begin := 0; begin < len(rows); {
			end, size := begin, 0
			for end < len(rows) && end-begin < batchRows && (end == begin || size+rows[end].size() <= batchBytes) {
				size += rows[end].size()
				end++
			}
			if !yield(rows[begin:end]) {
				return
			}
			begin = end
		}
	}
}
