package target

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// titled is a row with an id and a title.
func titled(id, title string) product.Row {
	r := row(id, 1)
	r.Values[product.Title] = product.TextValue(title)
	return r
}

// Whatever the role and the database say of their clients' encoding, text is UTF-8.
func TestCaseA1TheRolesEncoding(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	address := db.Role("ALL ON product", "SELECT ON cart")
	role, _ := url.Parse(address)
	db.Exec("ALTER ROLE " + role.User.Username() + " SET client_encoding TO 'LATIN1'")
	target := described(t, address, "public")
	rows := []product.Row{titled("größe", "Größe"), titled("😀", "an emoji 😀")}
	results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairsOf(rows...))
	if err != nil || results[0] != confirmed("größe") || results[1] != confirmed("😀") {
		t.Fatalf("%+v, %v", results, err)
	}
	if held, _ := db.Row("größe"); held.Title != "Größe" {
		t.Errorf("the cart has %q", held.Title)
	}
	found, err := target.Find(t.Context(), []product.ID{"größe", "😀"})
	if err != nil || found["😀"] != rows[1] || found["größe"] != rows[0] {
		t.Errorf("%v, %v", found, err)
	}
}

// A database of another encoding compares and stores what it can hold, and the first
// character that it cannot hold is named.
func TestCaseA1TheDatabasesEncoding(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		encoding string
		lacked   map[product.ID]string
	}{
		{"LATIN1", map[product.ID]string{"emoji": `title: has the character "\U0001f600" (U+1F600), which the database's encoding LATIN1 does not have`, "日": "id: ", "kanji": "title: ", "euro": `"\u20ac"`}},
		{"WIN1252", map[product.ID]string{"emoji": "WIN1252", "日": "id: ", "kanji": "title: "}},
		{"EUC_JP", map[product.ID]string{"emoji": "EUC_JP", "euro": "EUC_JP"}},
		{"SQL_ASCII", nil},
	} {
		t.Run(tt.encoding, func(t *testing.T) {
			t.Parallel()
			db := testenv.Cart(t, testenv.Encoded(tt.encoding))
			target := described(t, db.URL, "public")
			rows := []product.Row{titled("plain", "Lamp"), titled("größe", "Größe"), titled("emoji", "é 😀"), titled("日", "Lamp"), titled("kanji", "日本"), titled("euro", "5 €")}
			ids := make([]product.ID, len(rows))
			for i := range rows {
				ids[i] = rows[i].ID
			}
			for range 2 { // the second time from memory
				misfits, err := target.Check(t.Context(), rows)
				if err != nil {
					t.Fatal(err)
				}
				for _, id := range ids {
					want, lacked := tt.lacked[id]
					if m := misfits[id]; (m != nil) != lacked || lacked && !strings.Contains(m.Error(), want) {
						t.Errorf("%s: %v, want %q", id, m, want)
					}
				}
			}
			held := slices.DeleteFunc(slices.Clone(rows), func(r product.Row) bool { return tt.lacked[r.ID] != "" })
			results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairsOf(held...))
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range results {
				if r != confirmed(held[i].ID) {
					t.Errorf("%+v", r)
				}
			}
			found, err := target.Find(t.Context(), ids)
			if err != nil || len(found) != len(held) {
				t.Fatalf("%d rows, %v; want %d", len(found), err, len(held))
			}
			for _, r := range held {
				if found[r.ID] != r {
					t.Errorf("%q: %v, want %v", r.ID, found[r.ID], r)
				}
			}
			if got := spanned(t, target, "", ""); len(got) != len(held) {
				t.Errorf("a span has %q", got)
			}
			if tt.encoding != "LATIN1" {
				return
			}
			// The cart, whose driver speaks UTF-8 as well, sees the same.
			if r, _ := db.Row("größe"); r.Title != "Größe" {
				t.Errorf("the cart has %q", r.Title)
			}
		})
	}
}

// A database of encoding SQL_ASCII may hold what is no UTF-8.
func TestCaseA1BytesThatAreNoText(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t, testenv.Encoded("SQL_ASCII"))
	db.Exec(`INSERT INTO product VALUES (convert_from('\x6bf6', 'SQL_ASCII'), convert_from('\x4772f6df65', 'SQL_ASCII'), 1, 'a', 'a', 5)`)
	target := described(t, db.URL, "public")
	target.page = 1
	got := spanned(t, target, "", "")
	if !slices.Equal(got, []product.ID{"k\xf6"}) {
		t.Fatalf("%q", got)
	}
	found, err := target.Find(t.Context(), got)
	if err != nil || found["k\xf6"].Values[product.Title] != product.TextValue("Gr\xf6\xdfe") {
		t.Errorf("%q, %v", slices.Collect(maps.Values(found)), err)
	}
}
