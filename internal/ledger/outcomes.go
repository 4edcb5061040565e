package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/run"
)

// key names one difference as columns hold it.
type key struct{ product, kind string }

func storedKey(k run.Key) key { return key{stored(k.ID), cut(string(k.Kind), maxCode)} }

// keyColumns are keys column by column.
func keyColumns(keys []key) pgx.NamedArgs {
	products, kinds := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		products[i], kinds[i] = k.product, k.kind
	}
	return pgx.NamedArgs{"products": products, "kinds": kinds}
}

// outcomeRow is an outcome as columns hold it.
type outcomeRow struct {
	key
	title                 string
	state, column, reason string
	fields                *string
	attempts              int
	// open tells whether the difference stands, acted whether the run did something.
	open, acted bool
}

// size is about how many bytes a statement carries for the row.
func (r *outcomeRow) size() int {
	n := len(r.product) + len(r.title) + len(r.kind) + len(r.state) + len(r.column) + len(r.reason)
	if r.fields != nil {
		n += len(*r.fields)
	}
	return n
}

// outcomeRows are the rows of outcomes, of each product and kind the last one.
func outcomeRows(outcomes []run.Outcome) ([]outcomeRow, error) {
	rows := make([]outcomeRow, 0, len(outcomes))
	at := make(map[key]int, len(outcomes))
	for i := range outcomes {
		o := &outcomes[i]
		rule := o.State.Rule()
		reason, err := reasonDocument(o.Reason)
		if err != nil {
			return nil, err
		}
		row := outcomeRow{key: storedKey(o.Key), title: cut(o.Title, run.MaxTitle), state: string(o.State), column: cut(o.Column, maxText), reason: reason,
			attempts: o.Attempts, open: rule.Open, acted: rule.Acted}
		if len(o.Fields) > 0 {
			fields, err := document(o.Fields)
			if err != nil {
				return nil, err
			}
			row.fields = &fields
		}
		if same, known := at[row.key]; known {
			rows[same] = row
			continue
		}
		at[row.key] = len(rows)
		rows = append(rows, row)
	}
	return rows, nil
}

// resolvedRows are rows for differences that are gone, but for those that have an
// outcome beside.
func resolvedRows(keys []run.Key, outcomes []outcomeRow) []outcomeRow {
	told := make(map[key]bool, len(outcomes))
	for i := range outcomes {
		told[outcomes[i].key] = true
	}
	rows := make([]outcomeRow, 0, len(keys))
	for _, k := range keys {
		if row := (outcomeRow{key: storedKey(k)}); !told[row.key] {
			rows = append(rows, row)
		}
	}
	return rows
}

// columnsOfRows are the rows column by column.
func columnsOfRows(rows []outcomeRow) pgx.NamedArgs {
	products, titles := make([]string, len(rows)), make([]string, len(rows))
	kinds, states := make([]string, len(rows)), make([]string, len(rows))
	columns, reasons, fields := make([]string, len(rows)), make([]string, len(rows)), make([]*string, len(rows))
	attempts := make([]int, len(rows))
	for i := range rows {
		row := &rows[i]
		products[i], titles[i], kinds[i], states[i] = row.product, row.title, row.kind, row.state
		columns[i], reasons[i], fields[i], attempts[i] = row.column, row.reason, row.fields, row.attempts
	}
	return pgx.NamedArgs{"products": products, "titles": titles, "kinds": kinds, "states": states, "columns": columns, "reasons": reasons, "fields": fields, "attempts": attempts}
}

// givenKeys are the keys of keyColumns and of columnsOfRows. What has such a key is looked up
// row by row, behind an OFFSET 0: left to itself, the planner reads all that a run or a
// pipeline has, which it takes to be little while it has no statistics of it.
const givenKeys = `unnest(@products::text[], @kinds::text[]) AS o (product, kind)`

// given are the rows of columnsOfRows.
const given = `unnest(@products::text[], @titles::text[], @kinds::text[], @states::text[], @columns::text[], @reasons::text[], @fields::text[], @attempts::integer[])
	AS o (product, title, kind, state, column_name, reason, fields, attempts)`

// keepOutcomes keeps what the run did, in the place of older outcomes of it, and
// nothing of what it merely found, nor of what exceeds the bound.
func (l *lease) keepOutcomes(ctx context.Context, tx pgx.Tx, rows []outcomeRow, now *tally) error {
	known, err := l.known(ctx, tx, rows)
	if err != nil {
		return err
	}
	var kept, outdated []outcomeRow
	for _, row := range rows {
		switch {
		case row.acted && known[row.key]:
			kept = append(kept, row)
		case row.acted && now.kept < l.ledger.bound(row.state):
			now.kept++
			kept = append(kept, row)
		case known[row.key]:
			now.kept--
			outdated = append(outdated, row)
		}
	}
	for _, change := range []struct {
		rows []outcomeRow
		sql  string
	}{
		{kept, `
INSERT INTO ` + outcomeTable + ` (run, product, title, kind, state, column_name, reason, fields, attempts)
SELECT @id, product, title, kind, state, column_name, reason::jsonb, fields::json, attempts FROM ` + given + `
ON CONFLICT (run, product, kind) DO UPDATE SET title = coalesce(nullif(excluded.title, ''), ` + outcomeTable + `.title), state = excluded.state, column_name = excluded.column_name,
	reason = excluded.reason, fields = excluded.fields, attempts = excluded.attempts, at = excluded.at`},
		{outdated, `
DELETE FROM ` + outcomeTable + ` k USING ` + givenKeys + `
WHERE k.run = @id AND k.product = o.product AND k.kind = o.kind`},
	} {
		if len(change.rows) == 0 {
			continue
		}
		args := columnsOfRows(change.rows)
		args["id"] = l.id
		if err := exec(ctx, tx, args, change.sql); err != nil {
			return err
		}
	}
	return nil
}

// bound is how many outcomes are kept when one of this state comes. What needs no eye
// any more leaves room for the others.
func (l *Ledger) bound(state string) int64 {
	if state == string(run.Verified) {
		return l.maxOutcomes / 2
	}
	return l.maxOutcomes
}

// known are those of the rows whose product and kind have an outcome of the run.
func (l *lease) known(ctx context.Context, tx pgx.Tx, rows []outcomeRow) (map[key]bool, error) {
	args := columnsOfRows(rows)
	args["id"] = l.id
	found, err := collect(ctx, tx, func(row pgx.CollectableRow) (k key, err error) {
		err = row.Scan(&k.product, &k.kind)
		return k, err
	}, `
SELECT o.product, o.kind FROM `+givenKeys+`, LATERAL (
	SELECT FROM `+outcomeTable+` WHERE run = @id AND product = o.product AND kind = o.kind OFFSET 0) AS k`, args)
	known := make(map[key]bool, len(found))
	for _, k := range found {
		known[k] = true
	}
	return known, err
}
