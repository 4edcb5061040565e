package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// outcomeRow is a row of the table outcome.
type outcomeRow struct {
	outcomeKey
	state, column, reason string
	fields                *string
}

type outcomeKey struct{ product, kind string }

// outcomeRows are the rows of outcomes, of each product and kind the last one.
func outcomeRows(outcomes []run.Outcome) ([]outcomeRow, error) {
	rows := make([]outcomeRow, 0, len(outcomes))
	at := make(map[outcomeKey]int, len(outcomes))
	for i := range outcomes {
		o := &outcomes[i]
		row := outcomeRow{outcomeKey{stored(o.ID), string(o.Kind)}, string(o.State), cut(o.Column, maxText), cut(o.Reason, maxReason), nil}
		if len(o.Fields) > 0 {
			fields, err := document(o.Fields)
			if err != nil {
				return nil, err
			}
			row.fields = &fields
		}
		if same, known := at[row.outcomeKey]; known {
			rows[same] = row
			continue
		}
		at[row.outcomeKey] = len(rows)
		rows = append(rows, row)
	}
	return rows, nil
}

// keep writes outcomes in the place of older ones. Of new ones, those beyond the
// bound are only counted.
func (l *lease) keep(ctx context.Context, tx pgx.Tx, rows []outcomeRow) error {
	if len(rows) == 0 {
		return nil
	}
	var kept, dropped, droppedMissing int64
	if err := tx.QueryRow(ctx, `SELECT kept FROM etl.run WHERE id = $1`, l.id).Scan(&kept); err != nil {
		return err
	}
	known, err := l.known(ctx, tx, rows)
	if err != nil {
		return err
	}
	admitted := make([]outcomeRow, 0, len(rows))
	for _, row := range rows {
		switch {
		case known[row.outcomeKey]:
			admitted = append(admitted, row)
		case kept < l.ledger.bound(row.state):
			kept++
			admitted = append(admitted, row)
		default:
			dropped++
			if row.kind == string(product.Missing) && row.state == string(run.Found) {
				droppedMissing++
			}
		}
	}
	args := arguments(admitted)
	args["id"], args["kept"], args["dropped"], args["dropped_missing"] = l.id, kept, dropped, droppedMissing
	return exec(ctx, tx, args, `
INSERT INTO etl.outcome (run, product, kind, state, column_name, reason, fields)
SELECT @id, product, kind, state, column_name, reason, fields::json
FROM unnest(@products::text[], @kinds::text[], @states::text[], @columns::text[], @reasons::text[], @fields::text[])
	AS o (product, kind, state, column_name, reason, fields)
ON CONFLICT (run, product, kind) DO UPDATE SET state = excluded.state, column_name = excluded.column_name,
	reason = excluded.reason, fields = excluded.fields, at = excluded.at`,
		`UPDATE etl.run SET kept = @kept, dropped = dropped + @dropped, dropped_missing = dropped_missing + @dropped_missing WHERE id = @id`)
}

// bound is how many outcomes are kept when one of this state comes. What needs no eye
// any more leaves room for the others.
func (l *Ledger) bound(state string) int64 {
	if state == string(run.Verified) {
		return l.cap / 2
	}
	return l.cap
}

// known are those of the rows whose product and kind the run has already.
func (l *lease) known(ctx context.Context, tx pgx.Tx, rows []outcomeRow) (map[outcomeKey]bool, error) {
	products := make([]string, len(rows))
	for i := range rows {
		products[i] = rows[i].product
	}
	found, err := collect(ctx, tx, func(row pgx.CollectableRow) (key outcomeKey, err error) {
		err = row.Scan(&key.product, &key.kind)
		return key, err
	}, `SELECT product, kind FROM etl.outcome WHERE run = @id AND product = ANY(@products)`, pgx.NamedArgs{"id": l.id, "products": products})
	known := make(map[outcomeKey]bool, len(found))
	for _, key := range found {
		known[key] = true
	}
	return known, err
}

// arguments are the rows column by column.
func arguments(rows []outcomeRow) pgx.NamedArgs {
	products, kinds, states := make([]string, len(rows)), make([]string, len(rows)), make([]string, len(rows))
	columns, reasons, fields := make([]string, len(rows)), make([]string, len(rows)), make([]*string, len(rows))
	for i, row := range rows {
		products[i], kinds[i], states[i] = row.product, row.kind, row.state
		columns[i], reasons[i], fields[i] = row.column, row.reason, row.fields
	}
	return pgx.NamedArgs{"products": products, "kinds": kinds, "states": states, "columns": columns, "reasons": reasons, "fields": fields}
}
