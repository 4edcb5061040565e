package target

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// numbers are values as a document's price may have them.
func numbers() []product.Value {
	values := []product.Value{product.NullValue(), product.TextValue("777"), product.TextValue("-0"), product.TextValue("1e3"), product.TextValue("abc"), product.TextValue("")}
	for _, text := range []string{"0", "0.1", "9.99", "-9.99", "9.999", "1e10", "123456789", "16777217", "0.30000000000000004", "99999.99", "999999.99", "1000000", "1e38", "3.5e38",
		"1e300", "1e-300", "1e-50", "1e400", "0.00999", "0.01", "123456789012345678901234567890.123456789", "5e-324", "1.7976931348623157e308"} {
		if v, ok := product.ParseNumber(text); ok {
			values = append(values, v)
		}
	}
	for _, bits := range []uint{15, 16, 31, 32, 53, 63} {
		limit := int64(1)<<bits - 1
		for _, n := range []int64{limit - 1, limit, limit + 1, -limit, -limit - 1, -limit - 2} {
			values = append(values, product.IntegerValue(n))
		}
	}
	for range 60 {
		values = append(values, product.IntegerValue(rand.Int64()>>rand.IntN(64)), product.FloatValue(math.Float64frombits(rand.Uint64())),
			product.FloatValue(rand.NormFloat64()*1000), product.FloatValue(float64(math.Float32frombits(rand.Uint32()))))
		if v, ok := product.ParseNumber(fmt.Sprintf("%d.%03d", rand.Int64()>>rand.IntN(64), rand.IntN(1000))); ok {
			values = append(values, v)
		}
	}
	return values
}

// texts are titles as documents may have them.
func texts() []product.Value {
	values := []product.Value{product.NullValue(), product.IntegerValue(7)}
	for _, s := range []string{"", " ", "\t\n\\.\r", `\N`, `"quoted", 'twice'`, "Größe 42", "e\u0301", "\u2028\ufeff", "😀😀😀😀😀", "12345678901234567890", "123456789012345678901",
		"ßßßßßßßßßßßßßßßßßßßß", "ßßßßßßßßßßßßßßßßßßßßß", strings.Repeat("long ", 20_000), "\x01\x7f", "\xff", "a\x00b"} {
		values = append(values, product.TextValue(s))
	}
	for range 60 {
		runes := make([]rune, rand.IntN(30))
		for i := range runes {
			runes[i] = rune(1 + rand.IntN(utf8.MaxRune>>rand.IntN(20))) // surrogates become U+FFFD
		}
		values = append(values, product.TextValue(string(runes)))
	}
	return values
}

// fittingOf are rows that each have one of the values in a field, where they fit.
func fittingOf(target *Target, field product.Field, values []product.Value) []product.Repair {
	var fitting []product.Repair
	for _, v := range values {
		p := product.Product{Key: product.Key{Class: product.Strings, ID: product.ID("id" + strconv.Itoa(len(fitting)))}, Values: row("", 1).Values}
		p.Values[field] = v
		if fitted, err := target.Table().Fit(&p); err == nil {
			fitting = append(fitting, product.Repair{Product: p, Row: fitted})
		}
	}
	return fitting
}

// What Fit accepts, PostgreSQL stores, by either way of writing, and it reads back
// as exactly what Fit said. In many columns.
func TestWhatFitsIsStoredAsFitSays(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for i, tt := range []struct {
		field      product.Field
		columnType string
		values     []product.Value
	}{
		{product.Price, "smallint", numbers()},
		{product.Price, "integer", numbers()},
		{product.Price, "bigint", numbers()},
		{product.Price, "numeric", numbers()},
		{product.Price, "numeric(8,2)", numbers()},
		{product.Price, "numeric(3,5)", numbers()},
		{product.Price, "real", numbers()},
		{product.Price, "double precision", numbers()},
		{product.Price, "varchar(20)", numbers()},
		{product.Title, "varchar", texts()},
		{product.Title, "varchar(20)", texts()},
		{product.Title, "text", texts()},
	} {
		t.Run(tt.columnType, func(t *testing.T) {
			t.Parallel()
			schema := fmt.Sprintf("fits%d", i)
			withSchema(db, schema, fmt.Sprintf("CREATE TABLE product (%s); ALTER TABLE product ALTER %s TYPE %s, ALTER %[2]s DROP NOT NULL", "%s", tt.field, tt.columnType))
			target := described(t, db.URL, schema)
			table := target.Table()
			writer := writerOf(t, target)
			fitting := fittingOf(target, tt.field, tt.values)
			if len(fitting) < 4 {
				t.Fatalf("only %d of %d values fit", len(fitting), len(tt.values))
			}
			write := map[string]func() error{
				"copy": func() error {
					results, err := writer.Repair(t.Context(), product.Missing, 1, fitting)
					for i, r := range results {
						if r.Fate != product.Confirmed {
							t.Errorf("%v fits, and is refused: %v", fitting[i].Product.Values[tt.field], r.Err)
						}
					}
					return err
				},
				"insert": func() error {
					return writer.insertAbsent(t.Context(), target.shape.columns(allFields()), changesOf(fitting))
				},
			}
			for way, write := range write {
				db.Exec("TRUNCATE " + schema + ".product")
				if err := write(); err != nil {
					t.Fatalf("%s: %v", way, err)
				}
				for chunk := range slices.Chunk(fitting, 100) {
					var ids []product.ID
					for _, r := range chunk {
						ids = append(ids, r.Row.ID)
					}
					found, err := target.Find(t.Context(), ids)
					if err != nil {
						t.Fatal(err)
					}
					for _, r := range chunk {
						stored := found[r.Row.ID]
						if stored != r.Row {
							t.Errorf("%s: %v fits as %v and is stored as %v", way, r.Product.Values[tt.field], r.Row.Values[tt.field], stored.Values[tt.field])
						}
						if differing := table.Differing(&r.Product, &stored, product.CartFields()); len(differing) > 0 {
							t.Errorf("%s: %v is stored as %v and counts as different", way, r.Product.Values[tt.field], stored.Values[tt.field])
						}
					}
				}
			}
		})
	}
}

func TestRepairLeavesLiveRowsAlone(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	live := testenv.Row{ID: "b", Title: "live", Price: 99, Image: "live.jpg", SellerID: "live seller", Quantity: 1}
	db.Insert(live)
	writer := writerOf(t, target)
	results, err := writer.Repair(t.Context(), product.Missing, 1, repairsOf(row("a", 1), row("b", 2), row("c", 3)))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []product.ID{"a", "b", "c"} {
		if results[i] != confirmed(id) {
			t.Errorf("result %d is %+v", i, results[i])
		}
	}
	if got, _ := db.Row("b"); got != live {
		t.Errorf("the live row became %+v", got)
	}
	if got, ok := db.Row("a"); !ok || got.Price != 1 || got.Title != "title of a" {
		t.Errorf("the first row is %+v", got)
	}
	// Once more: nothing is there twice, nothing changes.
	if _, err := writer.Repair(t.Context(), product.Missing, 2, repairsOf(row("a", 7), row("b", 7), row("c", 7))); err != nil {
		t.Fatal(err)
	}
	if got, _ := db.Row("a"); got.Price != 1 || db.Count() != 3 {
		t.Errorf("after the second time: %+v", db.Rows())
	}
}

func TestRepairFindsTheBadRows(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	function := `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s; RETURN NEW; END $$; CREATE TABLE product (%%s); CREATE TRIGGER refuse BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION refuse()`
	for i, tt := range []struct {
		name, statements string
		bad              []int // numbers of the rows that are refused
		column, reason   string
		change           func(rows []product.Row)
	}{
		{"a check", "CREATE TABLE product (%s, CONSTRAINT cheap CHECK (price <> 63))", []int{63}, "cheap", `violates check constraint "cheap"`, nil},
		{"the first and the last", "CREATE TABLE product (%s, CONSTRAINT cheap CHECK (price NOT IN (0, 99)))", []int{0, 99}, "cheap", "violates check constraint", nil},
		{"a unique title", `CREATE TABLE product (%s, CONSTRAINT once UNIQUE (title)); INSERT INTO product VALUES ('other', 'title of id41', 1, '', '', 1)`, []int{41}, "once", `violates unique constraint "once"`, nil},
		{"a foreign key", `CREATE TABLE shelf (n integer PRIMARY KEY); INSERT INTO shelf SELECT generate_series(0, 98); CREATE TABLE product (%s, CONSTRAINT shelved FOREIGN KEY (price) REFERENCES shelf)`,
			[]int{99}, "shelved", "violates foreign key constraint", nil},
		{"a NOT NULL", "CREATE TABLE product (%s)", []int{17}, "image", "null value in column", func(rows []product.Row) { rows[17].Values[product.Image] = product.NullValue() }},
		{"a length", "CREATE TABLE product (%s); ALTER TABLE product ALTER title TYPE varchar(20)", []int{18}, "row", "too long", func(rows []product.Row) {
			rows[18].Values[product.Title] = product.TextValue("a title of more than 20 characters")
		}},
		{"an exception", fmt.Sprintf(function, "IF NEW.price = 50 THEN RAISE EXCEPTION 'not number 50'; END IF"), []int{50}, "row", "not number 50", nil},
		{"an exception with a code", fmt.Sprintf(function, "IF NEW.price = 50 THEN RAISE SQLSTATE 'CART1' USING MESSAGE = 'not number 50'; END IF"), []int{50}, "row", "not number 50", nil},
		{"an assertion", fmt.Sprintf(function, "ASSERT NEW.price <> 50, 'not number 50'"), []int{50}, "row", "not number 50", nil},
		{"a calculation", fmt.Sprintf(function, "NEW.quantity := 100 / (NEW.price - 50)"), []int{50}, "row", "division by zero", nil},
		{"an index entry that is too big", "CREATE TABLE product (%s); CREATE INDEX by_title ON product (title)", []int{19}, "by_title", "exceeds btree version 4 maximum", func(rows []product.Row) { rows[19].Values[product.Title] = product.TextValue(incompressible(6_000)) }},
		{"every row", fmt.Sprintf(function, "RAISE EXCEPTION 'closed'"), nil, "row", "closed", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			schema := fmt.Sprintf("bad%d", i)
			withSchema(db, schema, tt.statements)
			target := described(t, db.URL, schema)
			writer := writerOf(t, target)
			rows := make([]product.Row, 100)
			for n := range rows {
				rows[n] = row(fmt.Sprintf("id%d", n), int64(n))
			}
			if tt.change != nil {
				tt.change(rows)
			}
			results, err := writer.Repair(t.Context(), product.Missing, 1, repairsOf(rows...))
			if err != nil {
				t.Fatal(err)
			}
			if len(results) != len(rows) {
				t.Fatalf("%d results for %d rows", len(results), len(rows))
			}
			for n, r := range results {
				if r.ID != rows[n].ID {
					t.Fatalf("result %d is of %q", n, r.ID)
				}
				if !slices.Contains(tt.bad, n) && tt.bad != nil {
					if r != confirmed(r.ID) {
						t.Errorf("row %d is not written: %+v", n, r)
					}
					continue
				}
				var misfit *product.Misfit
				if r.Fate != product.Untried || !errors.As(r.Err, &misfit) {
					t.Errorf("row %d: %+v, want a misfit", n, r)
					continue
				}
				if misfit.Column != tt.column || !strings.Contains(misfit.Reason, tt.reason) {
					t.Errorf("row %d: %v, want %s: … %s", n, misfit, tt.column, tt.reason)
				}
			}
			written := len(rows) - len(tt.bad)
			if tt.bad == nil {
				written = 0
			}
			var n int
			if err := db.Pool.QueryRow(t.Context(), "SELECT count(*) FROM "+schema+".product WHERE id LIKE 'id%'").Scan(&n); err != nil || n != written {
				t.Errorf("%d rows are there, %v; want %d", n, err, written)
			}
		})
	}
}

// incompressible is a text of n characters that PostgreSQL cannot make shorter.
func incompressible(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = byte('!' + rand.IntN('~'-'!'))
	}
	return string(text)
}

func TestRepairLeavesAbsentFieldsToTheirDefaults(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "defaults", "CREATE TABLE product (%s); ALTER TABLE product ALTER quantity SET DEFAULT 5, ALTER image SET DEFAULT 'none.jpg', ALTER title DROP NOT NULL")
	target := described(t, db.URL, "defaults")
	var repairs []product.Repair
	absent := map[product.ID][]product.Field{"none": nil, "quantity": {product.Quantity}, "both": {product.Quantity, product.Image}, "title": {product.Title}, "again": {product.Quantity}}
	for _, id := range []product.ID{"none", "quantity", "both", "title", "again"} {
		p := product.Product{Key: product.Key{Class: product.Strings, ID: id}, Values: row(string(id), 1).Values}
		p.Values[product.Quantity] = product.IntegerValue(9)
		for _, f := range absent[id] {
			p.Values[f] = product.Value{}
		}
		fitted, err := target.Table().Fit(&p)
		if err != nil {
			t.Fatal(err)
		}
		repairs = append(repairs, product.Repair{Product: p, Row: fitted})
	}
	results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	found, err := target.Find(t.Context(), []product.ID{"none", "quantity", "both", "title", "again"})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range repairs {
		id := r.Row.ID
		if results[i] != confirmed(id) {
			t.Errorf("%s: %+v", id, results[i])
		}
		want := r.Product.Values
		for _, f := range absent[id] {
			want[f] = map[product.Field]product.Value{product.Quantity: product.IntegerValue(5), product.Image: product.TextValue("none.jpg"), product.Title: product.NullValue()}[f]
		}
		if found[id].Values != want {
			t.Errorf("%s: stored %v, want %v", id, found[id].Values, want)
		}
		stored := found[id]
		if differing := target.Table().Differing(&r.Product, &stored, product.CartFields()); len(differing) > 0 {
			t.Errorf("%s: %v count as different", id, differing)
		}
	}
}
