package target

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// collations are orders that a cart's id column may have. An empty sql is the
// database's own order.
var collations = []struct {
	name, sql                    string
	hexOrdered, bytewise, nondet bool
}{
	{name: "database"},
	{name: "c", sql: `CREATE COLLATION own (LOCALE = 'C')`, hexOrdered: true, bytewise: true},
	{name: "posix", sql: `CREATE COLLATION own FROM pg_catalog."POSIX"`, hexOrdered: true, bytewise: true},
	{name: "root", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'und')`, hexOrdered: true},
	{name: "english", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'en-US')`, hexOrdered: true},
	{name: "uppercase_first", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'en-u-kf-upper')`, hexOrdered: true},
	{name: "numeric", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'en-u-kn-true')`},
	{name: "letters_first", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'en-u-kr-latn-digit')`},
	{name: "danish", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'da')`},
	{name: "welsh", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'cy')`},
	{name: "nondeterministic", sql: `CREATE COLLATION own (PROVIDER = icu, LOCALE = 'und-u-ks-level2', DETERMINISTIC = false)`, nondet: true},
}

// collated makes a product table whose id column has a collation, in a schema of
// the collation's name.
func collated(t *testing.T, db *testenv.CartDB, name, sql string) *Target {
	t.Helper()
	statements := "CREATE TABLE product (%s)"
	if sql != "" {
		statements = sql + "; " + statements + "; ALTER TABLE product ALTER id TYPE varchar COLLATE own"
	}
	withSchema(db, name, statements)
	return described(t, db.URL, name)
}

// fill writes rows with these ids, in an order of their own.
func fill(t *testing.T, target *Target, ids []product.ID) {
	t.Helper()
	rows := make([]product.Row, len(ids))
	for i, id := range ids {
		rows[i] = row(string(id), int64(i))
	}
	rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairsOf(rows...))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Fate != product.Confirmed {
			t.Fatalf("%q: %v", r.ID, r.Err)
		}
	}
}

// hexIDs are texts of 24 lower-case hexadecimal digits in byte order: random ones,
// and those in which letter pairs and numbers of several digits meet.
func hexIDs() []product.ID {
	var ids []product.ID
	for range 150 {
		var id [12]byte
		for i := range id {
			id[i] = byte(rand.Uint32())
		}
		ids = append(ids, product.ID(hex.EncodeToString(id[:])))
	}
	const digits = "01289abcdef"
	for range 150 {
		id := []byte("65f2a1b2c3d4e5f6a7b8c9d0")
		for i := 16; i < len(id); i++ {
			id[i] = digits[rand.IntN(len(digits))]
		}
		ids = append(ids, product.ID(id))
	}
	for _, odd := range []string{"a", "f", "0", "d", "9", "1e", "aa0", "dd", "ff"} {
		ids = append(ids, product.ID(strings.Repeat(odd, 24)[:24]))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func TestOrderOfTheIDColumn(t *testing.T) {
	t.Parallel()
	databases := map[string]*testenv.CartDB{"en_US.utf8": testenv.Cart(t, testenv.Collated("en_US.utf8")), "C": testenv.Cart(t, testenv.Collated("C"))}
	ids := hexIDs()
	for locale, db := range databases {
		for _, c := range collations {
			if c.sql != "" && locale == "C" {
				continue // the column's own collation counts, whatever the database's
			}
			t.Run(locale+" "+c.name, func(t *testing.T) {
				t.Parallel()
				target := collated(t, db, c.name, c.sql)
				hexOrdered, bytewise := c.hexOrdered, c.bytewise
				if c.sql == "" {
					hexOrdered, bytewise = true, locale == "C"
				}
				if got := target.Table(); got.HexOrdered != hexOrdered || got.BytewiseOrdered != bytewise {
					t.Errorf("hexadecimal ids in byte order: %t, all ids in byte order: %t; want %t, %t", got.HexOrdered, got.BytewiseOrdered, hexOrdered, bytewise)
				}
				fill(t, target, ids)
				target.page = 50
				got := spanned(t, target, "", "")
				if hexOrdered && !slices.Equal(got, ids) {
					t.Error("it claims byte order of hexadecimal ids, and a span is not in byte order")
				}
				if slices.Sort(got); !slices.Equal(got, ids) {
					t.Errorf("a span of pages yields %d rows, want each of %d once", len(got), len(ids))
				}
				if !hexOrdered {
					return
				}
				// Bounds that are no rows: a page of the source with nothing at its ends in the cart.
				for range 20 {
					low, high := randomHex(), randomHex()
					want := slices.DeleteFunc(slices.Clone(ids), func(id product.ID) bool { return id <= low || id > high })
					if got := spanned(t, target, low, high); !slices.Equal(got, want) {
						t.Errorf("%s..%s: %d rows, want %d", low, high, len(got), len(want))
					}
				}
			})
		}
	}
}

func randomHex() product.ID {
	return product.ID(fmt.Sprintf("%08x%016x", rand.Uint32(), rand.Uint64()))
}

func TestSpanOfMixedIDs(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	ids := []product.ID{"", " ", "A", "B", "a", "b", "ab", "Ab", "AB", "aB", "a-b", "a b", "Å", "ä", "ß", "ss", "zz", "Zz", "10", "9", "1", "é", "e\u0301",
		"65F2A1B2C3D4E5F6A7B8C9D0", "65f2a1b2c3d4e5f6a7b8c9d0", "sku_1", "sku-2", "😀", "\u00a0", "o'neill", `"; DROP TABLE product`, `\x00`, "NULL", "$1", "%s"}
	for _, c := range collations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := collated(t, db, c.name, c.sql)
			ids := ids
			if c.nondet { // such an order has one row for ids that it takes for equal
				seen := map[string]bool{}
				ids = slices.DeleteFunc(slices.Clone(ids), func(id product.ID) bool {
					key := strings.NewReplacer("å", "a", "ä", "a", "ß", "ss", "e\u0301", "é", "\u00a0", " ").Replace(strings.ToLower(string(id)))
					defer func() { seen[key] = true }()
					return seen[key]
				})
			}
			fill(t, target, ids)
			whole := spanned(t, target, "", "")
			if len(whole) != len(ids) {
				t.Fatalf("%d rows in one page, want %d: %q", len(whole), len(ids), whole)
			}
			for _, id := range ids {
				if !slices.Contains(whole, id) {
					t.Errorf("%q is not in the span", id)
				}
			}
			for _, page := range []int{1, 2, 7, len(ids), len(ids) + 1} {
				target.page = page
				if got := spanned(t, target, "", ""); !slices.Equal(got, whole) {
					t.Errorf("pages of %d: %q, want %q", page, got, whole)
				}
			}
			target.page = 5
			for i, after := range whole {
				for j, through := range whole {
					if after == "" || through == "" || (i+j)%5 != 0 {
						continue // an empty bound is open, and some pairs of the others will do
					}
					var want []product.ID
					if i < j {
						want = whole[i+1 : j+1]
					}
					if got := spanned(t, target, after, through); !slices.Equal(got, want) {
						t.Errorf("%q..%q: %q, want %q", after, through, got, want)
					}
				}
				if after != "" {
					if got := spanned(t, target, after, ""); !slices.Equal(got, whole[i+1:]) {
						t.Errorf("%q..end: %q, want %q", after, got, whole[i+1:])
					}
					if got := spanned(t, target, "", after); !slices.Equal(got, whole[:i+1]) {
						t.Errorf("start..%q: %q, want %q", after, got, whole[:i+1])
					}
				}
			}
		})
	}
}

// A span must not sort: in a catalogue of a million rows each page would sort all
// that is left of the range. (PostgreSQL may sort a range that is smaller than a page.)
func TestSpanReadsTheIndexInItsOrder(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for _, c := range collations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := collated(t, db, c.name, c.sql)
			// Ids in no physical order, which is the worst for an index scan.
			db.Exec(`INSERT INTO ` + c.name + `.product SELECT left(md5(n::text), 24), 'title', n, 'https://images.shop.example/a.jpg', left(md5('s' || n), 24), 5 FROM generate_series(1, 10000) n`)
			db.Exec(`ANALYZE ` + c.name + `.product`)
			target.page = 500
			for _, tt := range []struct {
				after, through product.ID
				first          bool
			}{{"", "", true}, {"", "", false}, {"3", "", true}, {"3", "ffffffffffffffffffffffff", true}, {"", "c", true}, {"", "ffffffffffffffffffffffff", false}} {
				query, args := target.pageQuery(tt.after, tt.through, product.CartFields(), tt.first, target.page)
				var plan string
				if err := db.Pool.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+query, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...).Scan(&plan); err != nil {
					t.Fatal(err)
				}
				if nodes := planNodes(t, plan); !slices.Equal(nodes, []string{"Limit", "Index Scan"}) {
					t.Errorf("%q..%q: %v", tt.after, tt.through, nodes)
				}
			}
			// Nor must PostgreSQL fall for a plan that does not know the bounds.
			for range 3 {
				spanned(t, target, "1", "ffffffffffffffffffffffff")
			}
			if n := genericPlans(t, target); n != 0 {
				t.Errorf("%d pages were read without a look at the bounds", n)
			}
		})
	}
}

// genericPlans is how often prepared statements were executed with a plan that
// fits any parameters, on all connections of the pool.
func genericPlans(t *testing.T, target *Target) (n int) {
	t.Helper()
	for _, conn := range target.pool.AcquireAllIdle(t.Context()) {
		var here int
		err := conn.QueryRow(t.Context(), "SELECT coalesce(sum(generic_plans), 0) FROM pg_prepared_statements WHERE statement LIKE 'SELECT \"id\"%'").Scan(&here)
		conn.Release()
		if err != nil {
			t.Fatal(err)
		}
		n += here
	}
	return n
}

// planNodes are the kinds of a plan's nodes.
func planNodes(t *testing.T, plan string) []string {
	t.Helper()
	type node struct {
		Type  string `json:"Node Type"`
		Plans []node
	}
	var explained []struct{ Plan node }
	if err := json.Unmarshal([]byte(plan), &explained); err != nil || len(explained) != 1 {
		t.Fatalf("%v: %s", err, plan)
	}
	var kinds []string
	var walk func(node)
	walk = func(n node) {
		kinds = append(kinds, n.Type)
		for _, child := range n.Plans {
			walk(child)
		}
	}
	walk(explained[0].Plan)
	return kinds
}
