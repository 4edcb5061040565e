package main

import (
	"net/url"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/words"
)

// role gives the shop's commands a role of their own on the cart, with these settings.
func (s *shop) role(settings ...string) *shop {
	s.tb.Helper()
	address := s.cart.Role("ALL ON product", "SELECT ON cart", "CREATE ON DATABASE "+s.cart.Name)
	role, err := url.Parse(address)
	if err != nil {
		s.tb.Fatal(err)
	}
	for _, setting := range settings {
		s.cart.Exec("ALTER ROLE " + role.User.Username() + " SET " + setting)
	}
	return s.with(map[string]string{"CART_DB_URL": address})
}

// mustAgree insists that a repair makes nothing of the shop, because nothing differs.
func (s *shop) mustAgree(mode run.Mode) {
	s.tb.Helper()
	if report := s.mustSync(s.tb.Context(), exitOK, "--mode", string(mode), "--repair", "missing,stale,orphaned", "--max-deletes", "10"); report.Acted > 0 || report.Result != run.InSync {
		s.tb.Errorf("%s made %d repairs: %+v", report.Result, report.Acted, report.Samples)
	}
}

// Text is UTF-8 and numbers are exact on every connection, whatever the role's settings
// say: what is written is what the cart writes, and no row looks different.
func TestCaseA1AndA2TheRolesSettings(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 20, none)
		s.cart.Exec("ALTER TABLE product ALTER price TYPE double precision")
		s = s.role("client_encoding TO 'LATIN1'", "extra_float_digits TO 0", "search_path TO pg_catalog", "DateStyle TO 'SQL, DMY'", "IntervalStyle TO 'sql_standard'", "TimeZone TO 'Asia/Kathmandu'",
			"bytea_output TO 'escape'", "standard_conforming_strings TO off", "array_nulls TO off", "quote_all_identifiers TO on", "transform_null_equals TO on")
		consumer := s.consumer()
		stale, price := s.products.Product(3), 0.30000000000000004
		s.catalogue.Set(stale.ID, bsonField("title", `Größe \' 😀`), bsonField("price", price))
		odd := s.catalogue.InsertOdd(bsonField("title", "Größe 😀"), bsonField("price", price))
		report := s.mustSync(t.Context(), exitOK, "--mode", string(mode), "--repair", "missing,stale")
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1})
		wantOutcomes(t, report, product.Stale, map[run.State]int64{run.Verified: 1})
		for id, want := range map[string]string{odd.ID.Hex(): "Größe 😀", stale.ID.Hex(): `Größe \' 😀`} {
			var title, price string
			if err := s.cart.Pool.QueryRow(t.Context(), "SELECT title, price::text FROM product WHERE id = $1", id).Scan(&title, &price); err != nil || title != want || price != "0.30000000000000004" {
				t.Errorf("the cart has %q for %s, %v", title, price, err)
			}
		}
		s.mustAgree(mode)
		wantUnharmed(t, consumer)
		// What the ledger remembers is right as well.
		o := s.etl(t.Context(), "explain", odd.ID.Hex(), "--output", "json")
		if o.code != exitOK || !strings.Contains(o.stdout, `"Größe 😀"`) || !strings.Contains(o.stdout, "verified") {
			t.Errorf("explained with %d: %s%s", o.code, o.stdout, o.stderr)
		}
	})
}

// In a database of another encoding what it holds is repaired, and what it cannot hold
// is named.
func TestCaseA1TheDatabasesEncoding(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShopOn(t, testenv.Vhost(t), 0, none, testenv.Encoded("LATIN1"))
		consumer := s.consumer()
		shared := s.catalogue.InsertOdd(bsonField("title", "Lamp"))
		s.cart.Insert(testenv.Row{ID: shared.ID.Hex(), Title: "Lamp", Price: int(shared.Price), Image: shared.Image, SellerID: shared.SellerID.Hex(), Quantity: int(shared.Quantity)})
		held := s.catalogue.InsertOdd(bsonField("title", "Größe"))
		lacked := s.catalogue.InsertOdd(bsonField("title", "an emoji 😀"))
		s.catalogue.InsertOdd(bsonField("_id", "😀"))
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode))
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1, run.Blocked: 2})
		wantReason(t, report, lacked.ID.Hex(), product.Missing, run.ReasonMisfit, `"\U0001f600" (U+1F600), which the database's encoding LATIN1 does not have`)
		wantReason(t, report, "😀", product.Missing, run.ReasonMisfit, "U+1F600")
		if row, _ := s.cart.Row(held.ID.Hex()); row.Title != "Größe" {
			t.Errorf("the cart has %q", row.Title)
		}
		wantUnharmed(t, consumer)
		// The ledger, which is in the same database, knows the ids as they are.
		o := s.etl(t.Context(), "explain", "😀", "--output", "json")
		if o.code != exitDifferences || !strings.Contains(o.stdout, `"id": "😀"`) || strings.Count(o.stdout, "U+1F600") != 2 {
			t.Errorf("explained with %d: %s%s", o.code, o.stdout, o.stderr)
		}
	})
}

// What the cart stores for a number is no difference, and a repair stores the same.
func TestCaseA3NumbersAreRoundedToTheColumnsScale(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 10, none)
		s.cart.Exec("ALTER TABLE product ALTER price TYPE numeric(10,2)")
		consumer := s.consumer()
		same := s.products.Product(2)
		s.catalogue.Set(same.ID, bsonField("price", 19.990000000000002))
		s.cart.Exec("UPDATE product SET price = 19.99 WHERE id = $1", same.ID.Hex())
		s.mustAgree(mode)

		missing := s.catalogue.InsertOdd(bsonField("price", 1.005))
		large := s.catalogue.InsertOdd(bsonField("price", 99999999.995))
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode))
		wantReason(t, report, large.ID.Hex(), product.Missing, run.ReasonMisfit, "99999999.995 is out of range for numeric(10,2)")
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1, run.Blocked: 1})
		var price string
		if err := s.cart.Pool.QueryRow(t.Context(), "SELECT price::text FROM product WHERE id = $1", missing.ID.Hex()).Scan(&price); err != nil || price != "1.01" {
			t.Errorf("the cart has %q, %v", price, err)
		}
		wantUnharmed(t, consumer)
	})
}

// Texts are numbers where the database takes them for such.
func TestCaseA4TextsThatAreNumbers(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 10, none)
		consumer := s.consumer()
		same := s.products.Product(2)
		s.catalogue.Set(same.ID, bsonField("price", " 12 "), bsonField("title", true))
		s.cart.Exec("UPDATE product SET price = 12, title = 'true' WHERE id = $1", same.ID.Hex())
		s.mustAgree(mode)

		missing := s.catalogue.InsertOdd(bsonField("price", "\t+12\n"), bsonField("title", 5e21))
		blocked := map[string]string{`""`: "", `"1e3 "`: "1e3 ", `" 9.5"`: " 9.5", `"NaN"`: "NaN", `"12\u00a0"`: "12\u00a0"}
		for shown, price := range blocked {
			blocked[shown] = s.catalogue.InsertOdd(bsonField("price", price)).ID.Hex()
		}
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode))
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1, run.Blocked: int64(len(blocked))})
		for shown, id := range blocked {
			wantReason(t, report, id, product.Missing, run.ReasonMisfit, shown)
		}
		if row, _ := s.cart.Row(missing.ID.Hex()); row.Price != 12 || row.Title != "5e+21" {
			t.Errorf("the cart has %+v", row)
		}
		wantUnharmed(t, consumer)
	})
}

// ignoreCase lets the cart's ids differ by more than their case.
func (s *shop) ignoreCase() {
	s.cart.Exec(`CREATE COLLATION ci (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false)`)
	// Since PostgreSQL 18 both sides of a foreign key need one such collation.
	s.cart.Exec(`ALTER TABLE cart DROP CONSTRAINT "FK_371eb56ecc4104c2644711fa85f"`)
	s.cart.Exec(`ALTER TABLE product ALTER id TYPE varchar COLLATE ci`)
	s.cart.Exec(`ALTER TABLE cart ALTER "productId" TYPE varchar COLLATE ci,
		ADD CONSTRAINT "FK_371eb56ecc4104c2644711fa85f" FOREIGN KEY ("productId") REFERENCES product (id)`)
}

// An id that the cart takes for another one is named, and never replayed.
func TestCaseA9IDsThatTheCartTakesForAnother(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 10, none)
		s.ignoreCase()
		consumer := s.consumer()
		upper := s.catalogue.InsertOdd(bsonField("_id", "ABC"))
		s.catalogue.InsertOdd(bsonField("_id", "abc"))
		s.catalogue.InsertOdd(bsonField("_id", "other"))
		s.cart.Exec(`INSERT INTO product VALUES ('ABC', $1, $2, $3, $4, $5)`, upper.Title, upper.Price, upper.Image, upper.SellerID.Hex(), upper.Quantity)
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode), "--repair", "missing,stale,orphaned", "--max-deletes", "10")
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1, run.Blocked: 1})
		wantReason(t, report, "abc", product.Missing, run.ReasonMisfit, `the cart takes it for "ABC"`)
		if report.Acted != 1 {
			t.Errorf("%d repairs for one product", report.Acted)
		}
		if row, there := s.cart.Row("ABC"); !there || row.ID != "ABC" || row.Title != upper.Title {
			t.Errorf("the cart has %+v", row)
		}
		wantUnharmed(t, consumer)
		if o := s.etl(t.Context(), "explain", "abc"); o.code != exitDifferences || !strings.Contains(o.stdout, `abc: blocked`) || !strings.Contains(o.stdout, `takes it for "ABC"`) {
			t.Errorf("explained with %d: %s%s", o.code, o.stdout, o.stderr)
		}
	})
}

// Of two that the cart takes for one, and has neither of, one is repaired and the other
// named.
func TestCaseA9TwoIDsForOneRow(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 10, none)
		s.ignoreCase()
		consumer := s.consumer()
		s.catalogue.InsertOdd(bsonField("_id", "ABC"))
		s.catalogue.InsertOdd(bsonField("_id", "abc"))
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode))
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 1, run.Blocked: 1})
		if report.Acted > 2 {
			t.Errorf("%d repairs of two products", report.Acted)
		}
		wantUnharmed(t, consumer)
	})
}

// Where a person reads an id it is one word of its line, whatever it is.
func TestCaseA11IDsThatMislead(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, none)
	s.consumer()
	long := strings.Repeat("k", 2700)
	for _, id := range []string{"a ", "new\nline", "bidi\u202e", "zero\u200bwidth", "\x1b[31m", long} {
		s.catalogue.InsertOdd(bsonField("_id", id))
	}
	s.catalogue.InsertOdd(bsonField("_id", ""))
	o := s.etl(t.Context(), "sync", "--dry-run")
	for _, want := range []string{"5 × missing\n", "    \"a \" ", "    \"new\\nline\" ", "    \"bidi\\u202e\" ", "    \"zero\\u200bwidth\" ", "    \"\\x1b[31m\" ",
		"2 × missing blocked\n", "    " + strings.Repeat("k", 77) + "… (2700 bytes) ", `id: the id is empty`} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("%q is not in\n%s", want, o.stdout)
		}
	}
	o = s.etl(t.Context(), "explain", "new\nline")
	if !strings.Contains(o.stdout, `"new\nline": missing`) || !strings.Contains(o.stdout, "etl sync --id $'new\\nline'") {
		t.Errorf("%s", o.stdout)
	}
	if report := s.mustSync(t.Context(), exitDifferences, "--dry-run"); !sampled(report.Samples, long) || !sampled(report.Samples, "a ") {
		t.Error("JSON does not name the ids as they are")
	}
}

// A difference is shown where it is, and whole in JSON.
func TestCaseA12DifferencesInLongTexts(t *testing.T) {
	t.Parallel()
	s := newShop(t, 10, none)
	s.consumer()
	p := s.products.Product(4)
	image := "https://images.shop.example/" + strings.Repeat("a", 60) + "/0042"
	s.catalogue.Set(p.ID, bsonField("image", image+".jpg"), bsonField("title", "Café"))
	s.cart.Exec("UPDATE product SET image = $1, title = $2 WHERE id = $3", image+".png", "Cafe\u0301", p.ID.Hex())
	o := s.etl(t.Context(), "sync", "--dry-run")
	if !strings.Contains(o.stdout, `/0042.jpg" in the source and "…`) || !strings.Contains(o.stdout, `/0042.png" in the cart`) || !strings.Contains(o.stdout, `title is "Café" in the source and "Cafe\u0301" in the cart`) {
		t.Errorf("%s", o.stdout)
	}
	report := s.mustSync(t.Context(), exitDifferences, "--dry-run")
	var found bool
	for _, o := range report.Samples {
		for _, f := range o.Fields {
			found = found || f.Source == image+".jpg" && f.Cart == image+".png"
		}
	}
	if !found {
		t.Errorf("%+v", report.Samples)
	}
	o = s.etl(t.Context(), "explain", p.ID.Hex(), "--output", "json")
	if !strings.Contains(o.stdout, image+".jpg") || !strings.Contains(o.stdout, image+".png") {
		t.Errorf("%s", o.stdout)
	}
}

// sampled tells whether one of the samples is of this product.
func sampled(samples []words.OutcomeDocument, id string) bool {
	for _, o := range samples {
		if string(o.ID) == id {
			return true
		}
	}
	return false
}
