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

func writerOf(t *testing.T, target *Target, batch int) *Writer {
	t.Helper()
	writer, err := target.Writer(batch)
	if err != nil {
		t.Fatal(err)
	}
	return writer
}

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
			writer := writerOf(t, target, 1000)
			var fitting []product.Repair
			documents := map[product.ID]product.Product{}
			for i, v := range tt.values {
				p := product.Product{Key: product.Key{Class: product.Strings, ID: product.ID("value " + strconv.Itoa(i))}}
				p.Values = row("", 1).Values
				p.Values[tt.field] = v
				fitted, err := table.Fit(&p)
				if err != nil {
					continue
				}
				documents[p.ID()] = p
				fitting = append(fitting, product.Repair{Product: p, Row: fitted})
			}
			if len(fitting) < 4 {
				t.Fatalf("only %d of %d values fit", len(fitting), len(tt.values))
			}
			write := map[string]func() error{
				"copy": func() error {
					results, err := writer.Repair(t.Context(), 1, fitting)
					for _, r := range results {
						p := documents[r.ID]
						if !r.Acted {
							t.Errorf("%v fits, and is refused: %v", p.Values[tt.field], r.Err)
						}
					}
					return err
				},
				"insert": func() error {
					var rows []product.Row
					for _, r := range fitting {
						rows = append(rows, r.Row)
					}
					return writer.insert(t.Context(), rows, target.shape.columns())
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
	writer := writerOf(t, target, 100)
	results, err := writer.Repair(t.Context(), 1, repairsOf(row("a", 1), row("b", 2), row("c", 3)))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []product.ID{"a", "b", "c"} {
		if results[i] != (product.Result{ID: id, Acted: true}) {
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
	if _, err := writer.Repair(t.Context(), 2, repairsOf(row("a", 7), row("b", 7), row("c", 7))); err != nil {
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
			writer := writerOf(t, target, 100)
			rows := make([]product.Row, 100)
			for n := range rows {
				rows[n] = row(fmt.Sprintf("id%d", n), int64(n))
			}
			if tt.change != nil {
				tt.change(rows)
			}
			results, err := writer.Repair(t.Context(), 1, repairsOf(rows...))
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
					if !r.Acted || r.Err != nil {
						t.Errorf("row %d is not written: %+v", n, r)
					}
					continue
				}
				var misfit *product.Misfit
				if r.Acted || !errors.As(r.Err, &misfit) {
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
	results, err := writerOf(t, target, 100).Repair(t.Context(), 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	found, err := target.Find(t.Context(), []product.ID{"none", "quantity", "both", "title", "again"})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range repairs {
		id := r.Row.ID
		if results[i] != (product.Result{ID: id, Acted: true}) {
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

func TestReserveGrantsABatch(t *testing.T) {
	t.Parallel()
	w := &Writer{batch: 100}
	for want, granted := range map[int]int{1: 1, 99: 99, 100: 100, 10_000: 100} {
		if n, err := w.Reserve(t.Context(), want); n != granted || err != nil {
			t.Errorf("%d of %d are granted, %v", n, want, err)
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	db.Insert(testenv.Row{ID: "a"}, testenv.Row{ID: "held"}, testenv.Row{ID: "c"}, testenv.Row{ID: "stays"})
	db.Hold("held")
	referenced, err := target.Referenced(t.Context(), []product.ID{"a", "held", "c", "absent"})
	if err != nil || len(referenced) != 1 || referenced["held"] != "public.cart" {
		t.Errorf("referenced: %v, %v", referenced, err)
	}
	results, err := writerOf(t, target, 100).Remove(t.Context(), []product.ID{"a", "held", "absent", "c"})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []product.ID{"a", "held", "absent", "c"} {
		if id == "held" {
			var misfit *product.Misfit
			if results[i].Acted || !errors.As(results[i].Err, &misfit) || misfit.Column != "id" || !strings.Contains(misfit.Reason, "referenced by table public.cart") {
				t.Errorf("the row in a customer's cart: %+v", results[i])
			}
		} else if results[i] != (product.Result{ID: id, Acted: true}) {
			t.Errorf("%s: %+v", id, results[i])
		}
	}
	var left []string
	for _, r := range db.Rows() {
		left = append(left, r.ID)
	}
	if !slices.Equal(left, []string{"held", "stays"}) {
		t.Errorf("left: %q", left)
	}
}

// A row in a customer's cart stays, also where the schema would take the cart's
// entry away with it.
func TestRemoveNeverCascades(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for action, want := range map[string]string{"CASCADE": "referenced", "SET NULL": "referenced", "RESTRICT": "referenced", "NO ACTION": "referenced"} {
		schema := strings.ToLower(strings.ReplaceAll(action, " ", "_"))
		withSchema(db, schema, `CREATE TABLE product (%s); CREATE TABLE cart ("productId" varchar REFERENCES product ON DELETE `+action+`);
			INSERT INTO product VALUES ('held', '', 1, '', '', 1), ('free', '', 1, '', '', 1); INSERT INTO cart VALUES ('held')`)
		results, err := writerOf(t, described(t, db.URL, schema), 10).Remove(t.Context(), []product.ID{"held", "free"})
		if err != nil {
			t.Fatal(err)
		}
		var misfit *product.Misfit
		if results[0].Acted || !errors.As(results[0].Err, &misfit) || !strings.Contains(misfit.Reason, want) {
			t.Errorf("ON DELETE %s: %+v", action, results[0])
		}
		if !results[1].Acted {
			t.Errorf("ON DELETE %s: %+v", action, results[1])
		}
		var carts, products int
		if err := db.Pool.QueryRow(t.Context(), `SELECT count(*), (SELECT count(*) FROM `+schema+`.product) FROM `+schema+`.cart WHERE "productId" = 'held'`).Scan(&carts, &products); err != nil {
			t.Fatal(err)
		}
		if carts != 1 || products != 1 {
			t.Errorf("ON DELETE %s: %d entries in carts and %d products are left, want one of each", action, carts, products)
		}
	}
}
