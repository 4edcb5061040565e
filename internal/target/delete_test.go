package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// referencedBy tells whether the result is that a table refers to the row.
func referencedBy(r product.Result, table string) bool {
	var misfit *product.Misfit
	return r.Fate == product.Untried && errors.As(r.Err, &misfit) && misfit.Column == "id" && misfit.Reason == "is referenced by table "+table
}

func TestDelete(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	db.Insert(testenv.Row{ID: "a"}, testenv.Row{ID: "held"}, testenv.Row{ID: "c"}, testenv.Row{ID: "stays"})
	db.Hold("held")
	referenced, err := target.Referenced(t.Context(), []product.ID{"a", "held", "c", "absent"})
	if err != nil || len(referenced) != 1 || referenced["held"] != "public.cart" {
		t.Errorf("referenced: %v, %v", referenced, err)
	}
	ids := []product.ID{"a", "held", "absent", "c", "\x00"}
	results, err := writerOf(t, target).Repair(t.Context(), product.Orphaned, 1, removalsOf(ids...))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		switch {
		case id == "held" && !referencedBy(results[i], "public.cart"):
			t.Errorf("the row in a customer's cart: %+v", results[i])
		case id == "\x00" && !errors.As(results[i].Err, new(*product.Misfit)):
			t.Errorf("what no row can have: %+v", results[i])
		case id != "held" && id != "\x00" && results[i] != confirmed(id):
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
// entry away with it; and also where the entry is made while the row is deleted.
func TestDeleteNeverCascades(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for _, action := range []string{"CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION", "NO ACTION DEFERRABLE"} {
		schema := strings.ToLower(strings.ReplaceAll(action, " ", "_"))
		withSchema(db, schema, `CREATE TABLE product (%s); CREATE TABLE cart ("productId" varchar REFERENCES product ON DELETE `+action+`);
			INSERT INTO product SELECT unnest('{held,free,late}'::text[]), '', 1, '', '', 1; INSERT INTO cart VALUES ('held')`)
		writer := writerOf(t, described(t, db.URL, schema))
		commit := holding(t, db, "INSERT INTO "+schema+".cart VALUES ('late')")
		done := make(chan []product.Result)
		go func() {
			results, err := writer.Repair(t.Context(), product.Orphaned, 1, removalsOf("held", "free", "late"))
			if err != nil {
				t.Error(err)
			}
			done <- results
		}()
		waitForLock(t, db)
		commit()
		results := <-done
		if !referencedBy(results[0], schema+".cart") || results[1] != confirmed("free") || !referencedBy(results[2], schema+".cart") {
			t.Errorf("ON DELETE %s: %+v", action, results)
		}
		var left string
		query := fmt.Sprintf(`SELECT (SELECT string_agg("productId", ',' ORDER BY 1) FROM %[1]s.cart) || ' of ' || (SELECT string_agg(id, ',' ORDER BY 1) FROM %[1]s.product)`, schema)
		if err := db.Pool.QueryRow(t.Context(), query).Scan(&left); err != nil || left != "held,late of held,late" {
			t.Errorf("ON DELETE %s: left are %s, %v", action, left, err)
		}
	}
}

// Foreign keys of many tables, to the id or to other columns, alone or together.
func TestReferencedByEveryTable(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "shop", `CREATE TABLE product (%s, parent varchar REFERENCES product ON DELETE CASCADE, UNIQUE (title), UNIQUE (id, price));
		CREATE TABLE "Wish List" ("the product" varchar REFERENCES product ON DELETE CASCADE);
		CREATE TABLE review (product text COLLATE "C" REFERENCES product); CREATE TABLE other (a varchar, b varchar, FOREIGN KEY (a) REFERENCES product);
		CREATE TABLE titled (title varchar REFERENCES product (title) ON DELETE CASCADE);
		CREATE TABLE priced (price integer, product varchar, FOREIGN KEY (product, price) REFERENCES product (id, price) ON DELETE CASCADE);
		CREATE TABLE parts (product varchar REFERENCES product ON DELETE CASCADE) PARTITION BY LIST (product); CREATE TABLE part PARTITION OF parts DEFAULT;
		INSERT INTO product SELECT c, 'title of ' || c, 1, '', '', 1 FROM unnest('{a,b,c,d,e,f,g,h,i,j}'::text[]) c;
		UPDATE product SET parent = 'g' WHERE id = 'h';
		INSERT INTO "Wish List" VALUES ('a'), ('a'); INSERT INTO review VALUES ('b'), (NULL); INSERT INTO other VALUES ('c', 'd');
		INSERT INTO titled VALUES ('title of d'); INSERT INTO priced VALUES (1, 'e'), (NULL, 'i'); INSERT INTO parts VALUES ('f')`)
	target := described(t, db.URL, "shop")
	want := map[product.ID]string{"a": `shop."Wish List"`, "b": "shop.review", "c": "shop.other", "d": "shop.titled", "e": "shop.priced", "f": "shop.parts", "g": "shop.product"}
	ids := []product.ID{"a", "b", "c", "d", "e", "f", "g", "i", "j", "absent"}
	got, err := target.Referenced(t.Context(), ids)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	results, err := writerOf(t, target).Repair(t.Context(), product.Orphaned, 1, removalsOf(ids...))
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if table, held := want[id]; held && !referencedBy(results[i], table) || !held && results[i] != confirmed(id) {
			t.Errorf("%+v", results[i])
		}
	}
	var left string
	if err := db.Pool.QueryRow(t.Context(), "SELECT string_agg(id, '' ORDER BY id) FROM shop.product").Scan(&left); err != nil || left != "abcdefgh" {
		t.Errorf("left: %s, %v", left, err)
	}

	withSchema(db, "secret", `CREATE TABLE product (%s); CREATE TABLE review (product text REFERENCES product)`)
	blind := described(t, db.Role("USAGE ON SCHEMA secret", "SELECT, DELETE, INSERT ON secret.product"), "secret")
	if held, err := blind.Referenced(t.Context(), []product.ID{"a"}); err != nil || len(held) > 0 {
		t.Errorf("a comparison does not fail for what the role may not see: %v, %v", held, err)
	}
	if got := blind.Unchecked([]product.Kind{product.Orphaned}); len(got) != 1 || got[0] != "references of secret.review (which the role may not see: GRANT SELECT)" {
		t.Errorf("unchecked: %q", got)
	}
}

func TestDeleteFromAPartitionedTable(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "parts", `CREATE TABLE product (%s) PARTITION BY LIST (id); CREATE TABLE first PARTITION OF product FOR VALUES IN ('a', 'b', 'c'); CREATE TABLE rest PARTITION OF product DEFAULT;
		CREATE TABLE cart (product varchar REFERENCES product ON DELETE CASCADE); CREATE TABLE shelf (product varchar REFERENCES first ON DELETE CASCADE);
		INSERT INTO product SELECT c, '', 1, '', '', 1 FROM unnest('{a,b,c,d,e}'::text[]) c; INSERT INTO cart VALUES ('a'), ('d'); INSERT INTO shelf VALUES ('b')`)
	target := described(t, db.URL, "parts")
	results, err := writerOf(t, target).Repair(t.Context(), product.Orphaned, 1, removalsOf("a", "b", "c", "d", "e"))
	if err != nil || len(target.shape.references) != 2 {
		t.Fatalf("%v, %v", err, target.shape.references)
	}
	if !referencedBy(results[0], "parts.cart") || !referencedBy(results[1], "parts.shelf") || results[2] != confirmed("c") || !referencedBy(results[3], "parts.cart") || results[4] != confirmed("e") {
		t.Errorf("%+v", results)
	}
}

// A row that a trigger keeps does not keep the others.
func TestDeleteFindsTheRowsThatAreRefused(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "kept", `CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.price IN (17, 99) THEN RAISE EXCEPTION 'it stays'; END IF; RETURN OLD; END $$;
		CREATE TABLE product (%s); CREATE TRIGGER keep BEFORE DELETE ON product FOR EACH ROW EXECUTE FUNCTION keep();
		INSERT INTO product SELECT 'id' || n, '', n, '', '', 1 FROM generate_series(0, 99) n`)
	var ids []product.ID
	for n := range 100 {
		ids = append(ids, product.ID(fmt.Sprint("id", n)))
	}
	target := described(t, db.URL, "kept")
	results, err := writerOf(t, target).Repair(t.Context(), product.Orphaned, 1, removalsOf(ids...))
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range results {
		var misfit *product.Misfit
		if n != 17 && n != 99 {
			if r != confirmed(ids[n]) {
				t.Errorf("%+v", r)
			}
		} else if r.Fate != product.Untried || !errors.As(r.Err, &misfit) || misfit.Reason != "it stays" {
			t.Errorf("%+v", r)
		}
	}
	found, err := target.Find(t.Context(), ids)
	if err != nil || len(found) != 2 {
		t.Errorf("%d rows are left, %v", len(found), err)
	}
}
