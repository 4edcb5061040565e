package target

import (
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// An id column that takes some ids for one has one row for all of them. No statement of
// ours takes that row for another's, and what cannot be stored beside it is named.
func TestCaseA9IDsThatTheCartTakesForAnother(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for _, tt := range []struct {
		name, statements, held string
		taken                  []product.ID
	}{
		{"level2", `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false); CREATE TABLE product (%s); ALTER TABLE product ALTER id TYPE varchar COLLATE own`,
			"ABCé", []product.ID{"abcé", "Abce\u0301"}},
		{"normal", `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'und', DETERMINISTIC = false); CREATE TABLE product (%s); ALTER TABLE product ALTER id TYPE varchar COLLATE own`,
			"é", []product.ID{"e\u0301"}},
		{"citext", `CREATE EXTENSION citext; CREATE TABLE product (%s); ALTER TABLE product ALTER id TYPE citext`, "ABC", []product.ID{"abc", "aBC"}},
		{"padded", `CREATE TABLE product (%s); ALTER TABLE product ALTER id TYPE char(30)`, "ABC", []product.ID{"ABC ", "ABC  "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			withSchema(db, tt.name, tt.statements)
			target := described(t, db.URL, tt.name)
			held, other := row(tt.held, 1), row("other", 2)
			for _, r := range writeAll(t, target, held, other) {
				if r.Fate != product.Confirmed {
					t.Fatalf("%+v", r)
				}
			}
			ids := append([]product.ID{held.ID, other.ID, "none"}, tt.taken...)
			found, err := target.Find(t.Context(), ids)
			if err != nil || len(found) != 2 || found[held.ID] != held || found[other.ID] != other {
				t.Fatalf("%v, %v", found, err)
			}
			if got := spanned(t, target, "", ""); len(got) != 2 {
				t.Errorf("a span has %q", got)
			}
			rows := []product.Row{held, row("none", 3)}
			for _, id := range tt.taken {
				rows = append(rows, row(string(id), 9))
			}
			misfits, err := target.Check(t.Context(), rows)
			if err != nil || len(misfits) != len(tt.taken) {
				t.Fatalf("%v, %v", misfits, err)
			}
			for _, id := range tt.taken {
				if m := misfits[id]; m == nil || m.Column != "id" || !strings.Contains(m.Reason, "the cart takes it for ") {
					t.Errorf("%q: %v", id, m)
				}
			}
			// Nothing that is said of another id changes the row.
			for _, id := range tt.taken {
				was, wanted := held, row(string(id), 7)
				was.ID, was.Values[product.Title], wanted.Values[product.Title] = id, held.Values[product.Title], product.TextValue("changed")
				if _, err := writerOf(t, target).Repair(t.Context(), product.Stale, 1, []product.Repair{staleFrom(was, wanted)}); err != nil {
					t.Fatal(err)
				}
				if _, err := writerOf(t, target).Repair(t.Context(), product.Orphaned, 1, removalsOf(id)); err != nil {
					t.Fatal(err)
				}
			}
			if found, err = target.Find(t.Context(), ids); err != nil || found[held.ID] != held {
				t.Errorf("%v, %v", found, err)
			}
			if _, err := writerOf(t, target).Repair(t.Context(), product.Orphaned, 1, removalsOf(held.ID)); err != nil {
				t.Fatal(err)
			}
			if got := spanned(t, target, "", ""); !slices.Equal(got, []product.ID{"other"}) {
				t.Errorf("%q is left", got)
			}
		})
	}
}

// writeAll writes rows that are missing.
func writeAll(t *testing.T, target *Target, rows ...product.Row) []product.Result {
	t.Helper()
	results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairsOf(rows...))
	if err != nil {
		t.Fatal(err)
	}
	return results
}
