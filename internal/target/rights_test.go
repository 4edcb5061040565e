package target

import (
	"errors"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestWriterAsksForTheRightsOfItsKinds(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "secured", `CREATE TABLE product (%s); CREATE TABLE review (product text REFERENCES product); ALTER TABLE review ENABLE ROW LEVEL SECURITY`)
	withSchema(db, "apart", `CREATE TABLE product (%s)`)
	withSchema(db, "far", `CREATE TABLE review (product text REFERENCES apart.product)`)
	columns := `id, title, price, image, "sellerId", quantity`
	all := product.Kinds()
	for _, tt := range []struct {
		name, schema string
		rights       []string // besides reading
		kinds        []product.Kind
		want         []string // of the error; none: a writer
		mayDelete    bool
	}{
		{"nothing, for nothing", "public", nil, nil, nil, false},
		{"nothing, for missing", "public", nil, []product.Kind{product.Missing}, []string{"GRANT INSERT ON public.product, or"}, false},
		{"nothing, for stale", "public", nil, []product.Kind{product.Stale}, []string{"GRANT UPDATE ON public.product, or"}, false},
		{"nothing, for orphaned", "public", nil, []product.Kind{product.Orphaned}, []string{"GRANT DELETE ON public.product, GRANT SELECT ON public.cart, or"}, false},
		{"nothing, for all", "public", nil, all, []string{"GRANT INSERT, UPDATE, DELETE ON public.product, GRANT SELECT ON public.cart, or"}, false},
		{"to insert", "public", []string{"INSERT ON product"}, []product.Kind{product.Missing}, nil, false},
		{"to insert by column", "public", []string{"INSERT (" + columns + ") ON product"}, []product.Kind{product.Missing}, nil, false},
		{"to insert some columns", "public", []string{"INSERT (id, title, price) ON product"}, []product.Kind{product.Missing}, []string{"GRANT INSERT ON"}, false},
		{"to update", "public", []string{"UPDATE ON product"}, []product.Kind{product.Stale}, nil, false},
		{"to update all but the stock", "public", []string{`UPDATE (title, price, image, "sellerId") ON product`}, []product.Kind{product.Stale}, nil, false},
		{"to update some columns", "public", []string{`UPDATE (title, price) ON product`}, []product.Kind{product.Stale}, []string{"GRANT UPDATE ON"}, false},
		{"to delete", "public", []string{"DELETE ON product", "SELECT ON cart"}, []product.Kind{product.Orphaned}, nil, true},
		{"to delete, and see the references by column", "public", []string{"DELETE ON product", `SELECT ("productId") ON cart`}, []product.Kind{product.Orphaned}, nil, true},
		{"to delete, and not see the references", "public", []string{"DELETE ON product"}, []product.Kind{product.Orphaned}, []string{"GRANT SELECT ON public.cart, or"}, false},
		{"to insert only, for two", "public", []string{"INSERT ON product"}, []product.Kind{product.Missing, product.Stale}, []string{"GRANT UPDATE ON public.product, or"}, false},
		{"everything", "public", []string{"INSERT, UPDATE, DELETE ON product", "SELECT ON cart"}, all, nil, true},
		{"rows that are hidden", "secured", []string{"DELETE ON secured.product", "SELECT ON secured.review"}, []product.Kind{product.Orphaned},
			[]string{"GRANT SELECT without row-level security ON secured.review, or"}, false},
		{"a schema that is closed", "apart", []string{"DELETE ON apart.product", "SELECT ON far.review"}, []product.Kind{product.Orphaned},
			[]string{"GRANT USAGE ON SCHEMA far and SELECT ON far.review, or"}, false},
	} {
		// PostgreSQL takes one change of a table's rights at a time.
		url := db.Role(append([]string{"USAGE ON SCHEMA " + tt.schema, "SELECT ON " + tt.schema + ".product"}, tt.rights...)...)
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := described(t, url, tt.schema)
			if target.MayDelete() != tt.mayDelete {
				t.Errorf("may delete: %t", target.MayDelete())
			}
			writer, err := target.Writer(tt.kinds)
			if len(tt.want) > 0 {
				testenv.CheckMessage(t, err, append(tt.want, "may not repair "+target.Name()+" directly", "--mode replay")...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// Each kind does with its rights, in a row of its own.
			for _, kind := range tt.kinds {
				id := product.ID(strings.ReplaceAll(tt.name, " ", "-"))
				if kind != product.Missing {
					db.Insert(testenv.Row{ID: string(id + "-" + product.ID(kind)), Title: "old"})
				}
				was := product.Row{ID: id + "-" + product.ID(kind)}
				was.Values[product.Title] = product.TextValue("old")
				wanted := row(string(was.ID), 1)
				results, err := writer.Repair(t.Context(), kind, 1, []product.Repair{{Row: wanted, Was: was, Fields: []product.Field{product.Title}}})
				if err != nil || results[0] != confirmed(was.ID) {
					t.Errorf("%s: %+v, %v", kind, results, err)
				}
				found, err := target.Find(t.Context(), []product.ID{was.ID})
				if got, there := found[was.ID]; err != nil || there != kind.Rule().InSource || there && got.Values[product.Title] != wanted.Values[product.Title] {
					t.Errorf("%s: the table holds %v, %v", kind, found, err)
				}
			}
		})
	}
}

// A right that is taken away while a run goes on ends it, with the remedy.
func TestRepairWithoutARight(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.Role("SELECT ON product", "SELECT ON cart"), "public")
	db.Insert(testenv.Row{ID: "stale", Title: "title of stale", Price: 1}, testenv.Row{ID: "orphaned"})
	writer := &Writer{target}
	for kind, repairs := range each() {
		results, err := writer.Repair(t.Context(), kind, 1, repairs)
		testenv.CheckMessage(t, err, target.Name(), "permission denied for table product", "grant")
		if results[0] != (product.Result{ID: repairs[0].Row.ID}) {
			t.Errorf("%s: %+v; nothing was done", kind, results[0])
		}
		if errors.As(err, new(*product.Misfit)) {
			t.Errorf("%s: that is no fault of the row", kind)
		}
	}
}
