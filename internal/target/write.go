package target

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ecom-micro/etl/internal/postgres"
	"github.com/ecom-micro/etl/internal/product"
)

// Writer repairs directly: it inserts, updates and deletes rows of the table.
type Writer struct{ *Target }

// action is how one kind of difference is repaired in the table.
type action struct {
	doing string // for messages, in front of the table's name
	// lacking lists the rights that the role needs for it and does not have.
	lacking func(*shape) []grant
	// fields are those whose columns the statement names for this repair.
	fields func(*product.Repair) fieldSet
	// do makes changes that name the same fields, all in one transaction or none. It
	// returns those that must not be made, by id.
	do func(*Writer, context.Context, fieldSet, []change) (map[product.ID]*product.Misfit, error)
}

var actions = map[product.Kind]action{
	product.Missing:  {"insert rows into", lackingInsert, func(r *product.Repair) fieldSet { return filledFields(&r.Row) }, (*Writer).insert},
	product.Stale:    {"update rows of", lackingUpdate, changedFields, (*Writer).update},
	product.Orphaned: {"delete rows of", lackingDelete, noFields, (*Writer).remove},
}

// change is one repair beside its result.
type change struct {
	*product.Repair
	result *product.Result
}

// fieldSet are some of the fields.
type fieldSet [product.NumFields]bool

// Writer makes a repairer of these kinds. It fails where the role lacks a right that they
// need, or where the table refuses every such repair.
func (t *Target) Writer(kinds []product.Kind) (*Writer, error) {
	var lacking []grant
	for _, kind := range kinds {
		lacking = append(lacking, actions[kind].lacking(t.shape)...)
	}
	if len(lacking) > 0 {
		return nil, fmt.Errorf("the role %s may not repair %s directly: %s, or repair with --mode replay",
			t.pool.Config().ConnConfig.User, t.Name(), remedyOf(lacking))
	}
	for _, kind := range kinds {
		for _, o := range t.shape.obstacles {
			if o.remedy != "" && slices.Contains(o.kinds, kind) {
				return nil, fmt.Errorf("nothing that is %s can be repaired in %s: %s (%s)", kind, t.Name(), o.name, o.remedy)
			}
		}
	}
	if err := t.ReadOnly(); err != nil {
		return nil, fmt.Errorf("%w, or repair with --mode replay", err)
	}
	return &Writer{t}, nil
}

// Reserve grants a piece at once: writing does not queue behind live traffic.
func (w *Writer) Reserve(_ context.Context, _ product.Kind, want int, _ func(context.Context) (int, error)) (int, error) {
	return min(want, product.Piece), nil
}

// Repair makes the rows what they shall be, where the table still is as it was
// observed; what a live consumer changed meanwhile is left as it is, and the proof
// decides. What the database refuses is found by halving, and the others are done.
// Any number of repairs will do; there is one result for each, in their order:
// Confirmed where the statement is committed, Unknown where its answer never came, a
// *product.Misfit where the table refuses it. The error is one of the service; what
// then is Untried and has no Err was not done.
func (w *Writer) Repair(ctx context.Context, kind product.Kind, _ int, repairs []product.Repair) ([]product.Result, error) {
	action := actions[kind]
	results := make([]product.Result, len(repairs))
	changes := make([]change, len(repairs))
	for i := range repairs {
		results[i].ID = repairs[i].Row.ID
		changes[i] = change{&repairs[i], &results[i]}
	}
	for fields, group := range grouped(changes, func(c change) fieldSet { return action.fields(c.Repair) }) {
		for part := range transactions(group) {
			if err := w.halving(ctx, action, fields, part); err != nil {
				return results, fmt.Errorf("%s %s: %w", action.doing, w.Name(), w.explained(ctx, err))
			}
		}
	}
	return results, nil
}

// grouped yields those together that name the same fields. Nearly always there are few
// groups.
func grouped[T any](all []T, fields func(T) fieldSet) iter.Seq2[fieldSet, []T] {
	var sets []fieldSet // in the order of their first
	groups := make(map[fieldSet][]T)
	for _, one := range all {
		set := fields(one)
		if groups[set] == nil {
			sets = append(sets, set)
		}
		groups[set] = append(groups[set], one)
	}
	return func(yield func(fieldSet, []T) bool) {
		for _, set := range sets {
			if !yield(set, groups[set]) {
				return
			}
		}
	}
}

// transactionSize bounds the text of one transaction, in bytes, so that memory does
// not grow with the size of documents.
const transactionSize = 8 << 20

// transactions yields consecutive changes of at most transactionSize, or a single one.
func transactions(changes []change) iter.Seq[[]change] {
	return func(yield func([]change) bool) {
		begun, size := 0, 0
		for i := range changes {
			next := textSize(&changes[i].Row) + textSize(&changes[i].Was)
			if i > begun && size+next > transactionSize {
				if !yield(changes[begun:i]) {
					return
				}
				begun, size = i, 0
			}
			size += next
		}
		if begun < len(changes) {
			yield(changes[begun:])
		}
	}
}

func textSize(row *product.Row) int {
	size := len(row.ID)
	for _, f := range product.CartFields() {
		if v := &row.Values[f]; v.Kind() != product.Integer { // whose text is short, and would be made here
			size += len(v.String())
		}
	}
	return size
}

// halving makes changes and notes what became of each. The error is one of the
// service, not of a row.
func (w *Writer) halving(ctx context.Context, action action, fields fieldSet, changes []change) error {
	unknown := false
	misfits, err := retried(ctx, func() (map[product.ID]*product.Misfit, error) {
		misfits, err := action.do(w, ctx, fields, changes)
		unknown = unknown || postgres.Unanswered(err)
		return misfits, err
	})
	var refused *pgconn.PgError
	switch {
	case err == nil:
		for _, c := range changes {
			if misfit, is := misfits[c.result.ID]; is {
				c.result.Err = misfit
			} else {
				c.result.Fate = product.Confirmed
			}
		}
		return nil
	case !errors.As(err, &refused) || !isRowsFault(refused):
		for _, c := range changes {
			if unknown {
				c.result.Fate = product.Unknown
			}
		}
		return err
	case len(changes) == 1:
		changes[0].result.Err = misfitOf(refused)
		return nil
	}
	half := len(changes) / 2
	if err := w.halving(ctx, action, fields, changes[:half]); err != nil {
		return err
	}
	return w.halving(ctx, action, fields, changes[half:])
}

// isRowsFault tells whether a row's content was refused, by the table or by a
// trigger, which may choose any code. The classes of all other errors say that the
// statement, the right to it or the server is at fault:
// https://www.postgresql.org/docs/15/errcodes-appendix.html
func isRowsFault(e *pgconn.PgError) bool {
	if len(e.Code) < 2 {
		return false
	}
	if e.Routine == policyRoutine {
		return true
	}
	switch e.Code[:2] {
	case "08", "0A", "25", "26", "28", "2D", "34", "3B", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "XX":
		return false
	}
	return true
}

// policyRoutine is where PostgreSQL refuses a row by row-level security, with the code of
// a right that is lacking.
const policyRoutine = "ExecWithCheckOptions"

func misfitOf(e *pgconn.PgError) *product.Misfit {
	m := &product.Misfit{Column: e.ColumnName, Reason: e.Message}
	if m.Column == "" {
		m.Column = e.ConstraintName
	}
	if m.Column == "" {
		m.Column = "row"
	}
	return m
}
