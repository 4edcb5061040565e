package target

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// What Check says of a row is what the table does with it.
func TestCheckKnowsWhatTheTableRefuses(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	candidates := func() map[string]product.Row {
		rows := map[string]product.Row{}
		for _, id := range []string{"plain", "cheap", "dear", "untitled", "no title", "number", "long", "no image", "none left", "O'Neill", "ümlaut"} {
			rows[id] = row(id, 100)
		}
		set := func(id string, f product.Field, v product.Value) {
			r := rows[id]
			r.Values[f] = v
			rows[id] = r
		}
		set("cheap", product.Price, product.IntegerValue(0))
		set("dear", product.Price, product.IntegerValue(2_000_000_000))
		set("untitled", product.Title, product.TextValue(""))
		set("no title", product.Title, product.NullValue())
		set("number", product.Title, product.TextValue("12"))
		set("long", product.Title, product.TextValue(strings.Repeat("ü", 200)))
		set("no image", product.Image, product.NullValue())
		set("none left", product.Quantity, product.IntegerValue(0))
		return rows
	}
	for i, tt := range []struct {
		name, constraints string
		refused           []string
	}{
		{"none", "", nil},
		{"a bound", ", CONSTRAINT rule CHECK (price > 0)", []string{"cheap"}},
		{"a bound of null", ", CONSTRAINT rule CHECK (title <> '')", []string{"untitled"}},
		{"not null in other words", ", CONSTRAINT rule CHECK (title IS NOT NULL)", []string{"no title"}},
		{"a length", ", CONSTRAINT rule CHECK (char_length(title) <= 100)", []string{"long"}},
		{"a pattern", ", CONSTRAINT rule CHECK (id ~ '^[a-z ]+$')", []string{"O'Neill", "ümlaut"}},
		{"two columns", `, CONSTRAINT rule CHECK (quantity > 0 OR "sellerId" IS NULL)`, []string{"none left"}},
		{"two rules", ", CONSTRAINT rule CHECK (price > 0), CONSTRAINT rule2 CHECK (price < 1000 AND image IS NOT NULL)", []string{"cheap", "dear", "no image"}},
		{"a rule that is not checked for old rows", ", CONSTRAINT rule CHECK (price > 0)) INHERITS (base", []string{"cheap"}},
		{"a rule of the column's own type", ", CONSTRAINT rule CHECK (pg_typeof(price) = 'integer'::regtype AND pg_typeof(title)::text IN ('text', 'character varying'))", nil},
		{"a function of the column's own type", ", CONSTRAINT rule CHECK (positive(price))", []string{"cheap"}},
		{"a division", ", CONSTRAINT rule CHECK (price / quantity >= 0)", []string{"none left"}},
		{"a cast", ", CONSTRAINT rule CHECK (id <> 'number' OR title::integer > 10)", nil},
		{"a cast that fails", ", CONSTRAINT rule CHECK (id = 'plain' OR title::integer > 10)",
			[]string{"cheap", "dear", "untitled", "long", "no image", "none left", "O'Neill", "ümlaut"}},
		{"nothing goes", ", CONSTRAINT rule CHECK (false)",
			[]string{"plain", "cheap", "dear", "untitled", "no title", "number", "long", "no image", "none left", "O'Neill", "ümlaut"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			schema := fmt.Sprintf("check%d", i)
			columns := strings.ReplaceAll(typeORM, "NOT NULL", "")
			withSchema(db, schema, "CREATE FUNCTION positive(integer) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 > 0'; CREATE TABLE base (); CREATE TABLE product ("+
				columns+tt.constraints+")")
			target := described(t, db.URL, schema)
			if unchecked := target.Unchecked(product.Kinds()); len(unchecked) != 0 {
				t.Fatalf("unchecked: %q", unchecked)
			}
			rows := candidates()
			var given []product.Row
			for _, r := range rows {
				given = append(given, r)
			}
			misfits, err := target.Check(t.Context(), given)
			if err != nil {
				t.Fatal(err)
			}
			results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairsOf(given...))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				misfit, refused := misfits[r.ID]
				if want := slices.Contains(tt.refused, string(r.ID)); refused != want || (r.Fate == product.Confirmed) == want {
					t.Errorf("%q: refused by Check %t, by the table %t (%v); want %t", r.ID, refused, r.Fate != product.Confirmed, r.Err, want)
				}
				if refused && (!strings.HasPrefix(misfit.Column, "rule") || !strings.Contains(misfit.Reason, "check constraint")) {
					t.Errorf("%q: %v", r.ID, misfit)
				}
			}
			if len(misfits) != len(tt.refused) {
				t.Errorf("%d misfits, want %d", len(misfits), len(tt.refused))
			}
		})
	}
}

func TestCheckLeavesDefaultsToTheTable(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "defaults", "CREATE TABLE product (%s, CHECK (quantity > 0)); ALTER TABLE product ALTER quantity SET DEFAULT 5")
	target := described(t, db.URL, "defaults")
	absent := row("absent", 1)
	absent.Values[product.Quantity] = product.Value{}
	if misfits, err := target.Check(t.Context(), []product.Row{absent}); err != nil || len(misfits) != 0 {
		t.Errorf("%v, %v", misfits, err)
	}
	if misfits, err := target.Check(t.Context(), nil); err != nil || len(misfits) != 0 {
		t.Errorf("nothing to check: %v, %v", misfits, err)
	}
}

// The live consumer would die of a row that no partition takes.
func TestCaseA10PartitionTakesTheRow(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "parts", `CREATE TABLE product (%s) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF product FOR VALUES FROM ('0') TO ('8'); CREATE TABLE high PARTITION OF product (CONSTRAINT dear CHECK (price > 5)) FOR VALUES FROM ('8') TO ('f')`)
	target := described(t, db.URL, "parts")
	rows := []product.Row{row("3000", 1), row("a000", 1), row("f000", 1), row("a001", 9)}
	misfits, err := target.Check(t.Context(), rows)
	if err != nil || len(misfits) != 2 || misfits["f000"] == nil || misfits["a000"] == nil {
		t.Fatalf("%v, %v", misfits, err)
	}
	if got := misfits["f000"].Error(); got != "id: the row violates the bounds of all partitions of parts.product" {
		t.Error(got)
	}
	if got := misfits["a000"].Error(); got != "dear: the row violates the check constraint (price > 5) of parts.high" {
		t.Error(got)
	}
	results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairsOf(rows...))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if (r.Fate == product.Confirmed) != (misfits[rows[i].ID] == nil) {
			t.Errorf("%+v", r)
		}
	}
}
