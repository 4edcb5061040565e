package target

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestUpdateSetsTheFieldsThatDiffer(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	fill(t, target, []product.ID{"title", "price", "seller", "all", "other"})
	db.Exec("UPDATE product SET price = 1")
	with := func(id string, change func(*product.Row)) product.Repair {
		wanted := row(id, 1)
		change(&wanted)
		return staleFrom(row(id, 1), wanted)
	}
	repairs := []product.Repair{
		with("title", func(r *product.Row) { r.Values[product.Title] = product.TextValue("it's\ta \\N \"new\" tïtle\n") }),
		with("price", func(r *product.Row) { r.Values[product.Price] = product.IntegerValue(-7) }),
		with("absent", func(r *product.Row) { r.Values[product.Price] = product.IntegerValue(8) }),
		with("seller", func(r *product.Row) { r.Values[product.SellerID] = product.TextValue("another seller") }),
		with("all", func(r *product.Row) { *r = row("all", 9); r.Values[product.Title] = product.TextValue("") }),
	}
	// What does not differ is left alone, whatever it is by now.
	db.Exec(`UPDATE product SET quantity = 4`)
	results, err := writerOf(t, target).Repair(t.Context(), product.Stale, 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]product.ID, len(repairs))
	for i, r := range repairs {
		ids[i] = r.Row.ID
		if results[i] != confirmed(r.Row.ID) {
			t.Errorf("%+v", results[i])
		}
	}
	found, err := target.Find(t.Context(), append(ids, "other"))
	if err != nil || len(found) != 5 {
		t.Errorf("%d rows, %v", len(found), err)
	}
	for _, wanted := range append(repairs, product.Repair{Row: row("other", 1)}) {
		wanted.Row.Values[product.Quantity] = product.IntegerValue(4)
		if got, there := found[wanted.Row.ID]; there && got != wanted.Row {
			t.Errorf("%s is %v, want %v", got.ID, got, wanted.Row)
		}
	}
}

// A row in which a field is no longer what was observed is left as it is, whole.
func TestUpdateComparesBeforeItSets(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	fill(t, target, []product.ID{"a", "b", "c"})
	db.Exec("UPDATE product SET price = 1")
	both := func(id string) product.Repair {
		wanted := row(id, 2)
		wanted.Values[product.Title] = product.TextValue("new")
		return staleFrom(row(id, 1), wanted)
	}
	db.Exec("UPDATE product SET title = 'live' WHERE id = 'b'")
	results, err := writerOf(t, target).Repair(t.Context(), product.Stale, 1, []product.Repair{both("a"), both("b"), both("c")})
	if err != nil || !slices.Equal(results, []product.Result{confirmed("a"), confirmed("b"), confirmed("c")}) {
		t.Errorf("%+v, %v", results, err)
	}
	for id, want := range map[string]testenv.Row{"a": {Title: "new", Price: 2}, "b": {Title: "live", Price: 1}, "c": {Title: "new", Price: 2}} {
		if got, _ := db.Row(id); got.Title != want.Title || got.Price != want.Price {
			t.Errorf("%s is %+v", id, got)
		}
	}
}

// So it is where a live consumer's transaction commits while the update waits for it.
func TestUpdateSeesWhatWasChangedMeanwhile(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	fill(t, target, []product.ID{"changed", "touched"})
	db.Exec("UPDATE product SET price = 1")
	writer := writerOf(t, target)
	commit := holding(t, db, "UPDATE product SET quantity = 3, price = CASE id WHEN 'changed' THEN 5 ELSE price END")
	done := make(chan error)
	go func() {
		_, err := writer.Repair(t.Context(), product.Stale, 1, []product.Repair{staleFrom(row("changed", 1), row("changed", 2)), staleFrom(row("touched", 1), row("touched", 2))})
		done <- err
	}()
	waitForLock(t, db)
	commit()
	if err := <-done; err != nil {
		t.Error(err)
	}
	changed, _ := db.Row("changed")
	touched, _ := db.Row("touched")
	if changed.Price != 5 || touched.Price != 2 || touched.Quantity != 3 {
		t.Errorf("%+v and %+v", changed, touched)
	}
}

// Whatever a column holds, what Find reads of it is what the update compares with,
// and what Fit says is what it sets. From each value to the next, in many columns.
func TestUpdateComparesWhatWasRead(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	// What a role's settings say of text and numbers does not matter.
	db.Exec("ALTER DATABASE " + db.Name + " SET extra_float_digits = 0")
	db.Exec("ALTER DATABASE " + db.Name + " SET client_encoding = 'LATIN1'")
	// Values that no product has, and that a row may hold all the same.
	odd := map[string][]string{
		"double precision": {"'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "1e-310", "0.1::float8 + 0.2::float8"},
		"real":             {"'NaN'", "'-Infinity'", "16777216.0", "0.1::real + 0.2::real"},
		"numeric":          {"'NaN'", "'Infinity'", "1.50", "100", "1e-30", "-0.0"},
		"numeric(8,2)":     {"'NaN'", "1.5", "100"},
	}
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
		{product.Price, "real", numbers()},
		{product.Price, "double precision", numbers()},
		{product.Title, "varchar", texts()},
		{product.Title, "varchar(20)", texts()},
		{product.Title, "text COLLATE \"und-x-icu\"", texts()},
		{product.Title, "text COLLATE blind", texts()},
	} {
		t.Run(tt.columnType, func(t *testing.T) {
			t.Parallel()
			schema := fmt.Sprintf("reads%d", i)
			withSchema(db, schema, fmt.Sprintf(`CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
				CREATE TABLE product (%s); ALTER TABLE product ALTER %s TYPE %s, ALTER %[2]s DROP NOT NULL`, "%s", tt.field, tt.columnType))
			target := described(t, db.URL, schema)
			var wanted []product.Row
			for _, r := range fittingOf(target, tt.field, tt.values) {
				wanted = append(wanted, r.Row)
			}
			for i, literal := range odd[tt.columnType] { // the last rows are these, and others are wanted there
				id := wanted[len(wanted)-1-i].ID
				db.Exec(fmt.Sprintf("INSERT INTO %s.product VALUES ('%s', 'old', %s, '', '', 1)", schema, id, literal))
			}
			writer := writerOf(t, target)
			first := make([]product.Row, len(wanted)) // each has the next one's value
			for i := range wanted {
				first[i] = wanted[i]
				first[i].Values[tt.field] = wanted[(i+1)%len(wanted)].Values[tt.field]
			}
			if _, err := writer.Repair(t.Context(), product.Missing, 1, repairsOf(first...)); err != nil {
				t.Fatal(err)
			}
			ids := make([]product.ID, len(wanted))
			for i := range wanted {
				ids[i] = wanted[i].ID
			}
			observed, err := target.Find(t.Context(), ids)
			if err != nil || len(observed) != len(wanted) {
				t.Fatalf("%d rows, %v", len(observed), err)
			}
			repairs := make([]product.Repair, len(wanted))
			for i, r := range wanted {
				repairs[i] = product.Repair{Row: r, Was: observed[r.ID], Fields: []product.Field{tt.field}}
			}
			results, err := writer.Repair(t.Context(), product.Stale, 1, repairs)
			if err != nil {
				t.Fatal(err)
			}
			found, err := target.Find(t.Context(), ids)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range repairs {
				if got := found[r.Row.ID].Values[tt.field]; results[i] != confirmed(r.Row.ID) || got != r.Row.Values[tt.field] {
					t.Errorf("from %v to %v: it is %v, %+v", r.Was.Values[tt.field], r.Row.Values[tt.field], got, results[i])
				}
			}
		})
	}
}

// A number that was read exactly is compared exactly: its neighbour is another.
func TestUpdateTellsNeighboursApart(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "near", `CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
		CREATE TABLE product (%s); ALTER TABLE product ALTER price TYPE double precision, ALTER title TYPE text COLLATE blind, ALTER image DROP NOT NULL;
		INSERT INTO product VALUES ('float', '', 0.1, '', '', 1), ('text', 'A', 1, '', '', 1), ('null', '', 1, NULL, '', 1), ('empty', '', 1, '', '', 1)`)
	target := described(t, db.URL, "near")
	was, wanted := row("", 1), row("", 2)
	was.Values[product.Price] = product.FloatValue(math.Nextafter(0.1, 1))
	was.Values[product.Title] = product.TextValue("a")
	was.Values[product.Image] = product.NullValue()
	results, err := writerOf(t, target).Repair(t.Context(), product.Stale, 1, []product.Repair{
		{Row: product.Row{ID: "float", Values: wanted.Values}, Was: was, Fields: []product.Field{product.Price}},
		{Row: product.Row{ID: "text", Values: wanted.Values}, Was: was, Fields: []product.Field{product.Title}},
		{Row: product.Row{ID: "null", Values: wanted.Values}, Was: was, Fields: []product.Field{product.Image}},
		{Row: product.Row{ID: "empty", Values: wanted.Values}, Was: was, Fields: []product.Field{product.Image}},
		{Row: product.Row{ID: "empty", Values: wanted.Values}, Was: was}, // nothing to do
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r != confirmed(r.ID) {
			t.Errorf("%+v", r)
		}
	}
	found, err := target.Find(t.Context(), []product.ID{"float", "text", "null", "empty"})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[product.ID]product.Value{"float": product.FloatValue(0.1), "text": product.TextValue("A"), "null": wanted.Values[product.Image], "empty": product.TextValue("")} {
		field := map[product.ID]product.Field{"float": product.Price, "text": product.Title, "null": product.Image, "empty": product.Image}[id]
		if got := found[id].Values[field]; got != want {
			t.Errorf("%s is %v, want %v", id, got, want)
		}
	}
}

func TestUpdateFindsTheRowsThatAreRefused(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for i, tt := range []struct {
		name, statements string
		column, reason   string
	}{
		{"a check", "CREATE TABLE product (%s, CONSTRAINT cheap CHECK (price NOT IN (1017, 1099)))", "cheap", `violates check constraint "cheap"`},
		{"a trigger", `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.price IN (1017, 1099) THEN RAISE EXCEPTION 'not this'; END IF; RETURN NEW; END $$;
			CREATE TABLE product (%s); CREATE TRIGGER refuse BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION refuse()`, "row", "not this"},
		{"a foreign key", `CREATE TABLE shelf (n integer PRIMARY KEY); INSERT INTO shelf SELECT n FROM generate_series(0, 1098) n WHERE n <> 1017;
			CREATE TABLE product (%s, CONSTRAINT shelved FOREIGN KEY (price) REFERENCES shelf)`, "shelved", "violates foreign key constraint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			schema := fmt.Sprintf("refuse%d", i)
			withSchema(db, schema, tt.statements)
			target := described(t, db.URL, schema)
			writer := writerOf(t, target)
			var before []product.Row
			var repairs []product.Repair
			for n := range 100 {
				id := fmt.Sprintf("id%d", n)
				before = append(before, row(id, int64(n)))
				repairs = append(repairs, staleFrom(row(id, int64(n)), row(id, int64(n+1000))))
			}
			if _, err := writer.Repair(t.Context(), product.Missing, 1, repairsOf(before...)); err != nil {
				t.Fatal(err)
			}
			results, err := writer.Repair(t.Context(), product.Stale, 1, repairs)
			if err != nil {
				t.Fatal(err)
			}
			ids := make([]product.ID, len(before))
			for n := range before {
				ids[n] = before[n].ID
			}
			found, err := target.Find(t.Context(), ids)
			if err != nil {
				t.Fatal(err)
			}
			for n, r := range results {
				if n != 17 && n != 99 {
					if r != confirmed(repairs[n].Row.ID) || found[r.ID] != repairs[n].Row {
						t.Errorf("%+v, %v", r, found[r.ID])
					}
					continue
				}
				var misfit *product.Misfit
				if r.Fate != product.Untried || !errors.As(r.Err, &misfit) || misfit.Column != tt.column || !strings.Contains(misfit.Reason, tt.reason) {
					t.Errorf("%+v", r)
				}
				if found[r.ID] != before[n] {
					t.Errorf("%s changed all the same: %v", r.ID, found[r.ID])
				}
			}
		})
	}
}

func TestUpdateOfAPartitionedTable(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "parts", "CREATE TABLE product (%s) PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF product FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE p1 PARTITION OF product FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
	target := described(t, db.URL, "parts")
	ids := hexIDs()[:50]
	fill(t, target, ids)
	observed, err := target.Find(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	var repairs []product.Repair
	for _, id := range ids {
		repairs = append(repairs, staleFrom(observed[id], row(string(id), 1000)))
	}
	if _, err := writerOf(t, target).Repair(t.Context(), product.Stale, 1, repairs); err != nil {
		t.Fatal(err)
	}
	found, err := target.Find(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range repairs {
		if found[r.Row.ID] != r.Row {
			t.Errorf("%v, want %v", found[r.Row.ID], r.Row)
		}
	}
}
