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
	const set = ", vanished = 0, stage = @stage, memory = coalesce(@memory, memory), report = coalesce(@report, report)"
	return l.write(ctx, what, set, args, func(ctx context.Context, tx pgx.Tx) error {
		if s.Restart {
			if err := l.restart(ctx, tx); err != nil {
				return err
			}
		}
		if err := l.settle(ctx, tx, rows, resolvedRows(s.Resolved, rows)); err != nil {
			return err
		}
		if err := l.finish(ctx, tx, s.Finished); err != nil {
			return err
		}
		return l.looked(ctx, tx, s.Look)
	})
}

// restart forgets the run's outcomes and that ranges are finished. Open differences
// are facts about the stores, and stay.
func (l *lease) restart(ctx context.Context, tx pgx.Tx) error {
	return exec(ctx, tx, pgx.NamedArgs{"id": l.id},
		`DELETE FROM `+outcomeTable+` WHERE run = @id`,
		`UPDATE `+runTable+` SET kept = 0, dropped = 0 WHERE id = @id`,
		`UPDATE `+rangeTable+` SET finished = false, products = 0, rows = 0, matched = 0 WHERE run = @id AND finished`)
}

// tally is how much the ledger keeps.
type tally struct {
	open          int64 // differences of the pipeline
	kept, dropped int64 // outcomes of the run, and differences that were too many
}

// settle keeps outcomes, and closes the differences of those and of resolved ones that
// do not stand any more.
func (l *lease) settle(ctx context.Context, tx pgx.Tx, rows, resolved []outcomeRow) error {
	if len(rows)+len(resolved) == 0 {
		return nil
	}
	open, err := l.ledger.lockDifferences(ctx, tx)
	if err != nil {
		return err
	}
	now := tally{open: open}
	if err := tx.QueryRow(ctx, `SELECT kept, dropped FROM `+runTable+` WHERE id = $1`, l.id).Scan(&now.kept, &now.dropped); err != nil {
		return err
	}
	before := now
	for batch := range batches(resolved) {
		if err := l.closeDifferences(ctx, tx, batch, &now); err != nil {
			return err
		}
	}
	for batch := range batches(rows) {
		for _, keep := range []func(context.Context, pgx.Tx, []outcomeRow, *tally) error{
			l.putDown, l.closeDifferences, l.openDifferences, l.keepOutcomes,
		} {
			if err := keep(ctx, tx, batch, &now); err != nil {
				return err
			}
		}
	}
	if now == before {
		return nil
	}
	return exec(ctx, tx, pgx.NamedArgs{"id": l.id, "pipeline": l.ledger.pipeline, "open": now.open, "kept": now.kept, "dropped": now.dropped},
		`UPDATE `+pipelineTable+` SET open = @open WHERE pipeline = @pipeline AND open <> @open`,
		`UPDATE `+runTable+` SET kept = @kept, dropped = @dropped WHERE id = @id`)
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
