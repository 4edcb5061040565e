package target

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/secret"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// open opens the product table of one schema of a cart's database.
func open(t *testing.T, url, schema string) *Target {
	t.Helper()
	target, err := Open(t.Context(), Config{URL: secret.URL(url), Schema: schema, Table: "product"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(target.Close)
	return target
}

// described is open, and the table is described.
func described(t *testing.T, url, schema string) *Target {
	t.Helper()
	target := open(t, url, schema)
	if err := target.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	return target
}

// typeORM is the cart's table as TypeORM makes it.
const typeORM = `id varchar PRIMARY KEY, title varchar NOT NULL, price integer NOT NULL, image varchar NOT NULL, "sellerId" varchar NOT NULL, quantity integer NOT NULL`

// withSchema runs statements in a new schema of the cart's database, which becomes
// the search path. A %s stands for the columns of typeORM.
func withSchema(db *testenv.CartDB, schema, statements string) {
	statements = strings.ReplaceAll(statements, "%s", typeORM)
	db.Exec("BEGIN; CREATE SCHEMA " + schema + "; SET LOCAL search_path = " + schema + "; " + statements + "; COMMIT")
}

// row is a row of the table; more than its id and price does not matter.
func row(id string, price int64) product.Row {
	r := product.Row{ID: product.ID(id)}
	r.Values[product.Title] = product.TextValue("title of " + id)
	r.Values[product.Price] = product.IntegerValue(price)
	r.Values[product.Image] = product.TextValue("https://images.shop.example/a.jpg")
	r.Values[product.SellerID] = product.TextValue("65f2a1b2c3d4e5f6a7b8c9d0")
	r.Values[product.Quantity] = product.IntegerValue(5)
	return r
}

// writerOf is a repairer of all kinds.
func writerOf(t *testing.T, target *Target) *Writer {
	t.Helper()
	writer, err := target.Writer(product.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	return writer
}

func repairsOf(rows ...product.Row) []product.Repair {
	repairs := make([]product.Repair, len(rows))
	for i, r := range rows {
		repairs[i].Row = r
	}
	return repairs
}

// staleFrom is the repair of a row that was observed and shall be another.
func staleFrom(was, row product.Row) product.Repair {
	r := product.Repair{Row: row, Was: was}
	for _, f := range product.CartFields() {
		if was.Values[f] != row.Values[f] {
			r.Fields = append(r.Fields, f)
		}
	}
	return r
}

// holding runs a statement in a transaction, whose locks last until commit is called.
func holding(t *testing.T, db *testenv.CartDB, statement string) (commit func()) {
	t.Helper()
	tx, err := db.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := tx.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Commit(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// waitForLock returns once another session of the database waits for a lock.
func waitForLock(t *testing.T, db *testenv.CartDB) {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() bool {
		var waiting bool
		err := db.Pool.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')").Scan(&waiting)
		return err == nil && waiting
	}, "a session that waits for a lock")
}

// removalsOf are the repairs of orphans.
func removalsOf(ids ...product.ID) []product.Repair {
	repairs := make([]product.Repair, len(ids))
	for i, id := range ids {
		repairs[i].Row.ID = id
	}
	return repairs
}

func changesOf(repairs []product.Repair) []change {
	changes := make([]change, len(repairs))
	for i := range repairs {
		changes[i] = change{&repairs[i], &product.Result{ID: repairs[i].Row.ID}}
	}
	return changes
}

// major is the version of the cart's server.
func major(t *testing.T, db *testenv.CartDB) (version int) {
	t.Helper()
	if err := db.Pool.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int / 10000").Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

func confirmed(id product.ID) product.Result { return product.Result{ID: id, Fate: product.Confirmed} }

// spanned are the ids of a span, in the order of their rows.
func spanned(t *testing.T, target *Target, after, through product.ID) []product.ID {
	t.Helper()
	var ids []product.ID
	for page, err := range target.Span(t.Context(), after, through, product.CartFields()) {
		page = testenv.KeptRows(page)
		if err != nil {
			t.Fatalf("span %q..%q: %v", after, through, err)
		}
		if len(page) == 0 || len(page) > target.page {
			t.Fatalf("a page of %d rows, at most %d are asked for", len(page), target.page)
		}
		for _, r := range page {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func TestCartOfTypeORM(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	target := described(t, db.URL, "public")
	if got, want := target.Name(), db.Name+".public.product"; got != want {
		t.Errorf("name %q, want %q", got, want)
	}
	table := target.Table()
	literals := major(t, db) >= 16
	text := func(name string) product.Column {
		return product.Column{Name: name, Type: product.TextColumn, TypeName: "character varying", Literals: literals}
	}
	number := func(name string) product.Column {
		return product.Column{Name: name, Type: product.IntegerColumn, TypeName: "integer", Bits: 32, Literals: literals}
	}
	want := product.Table{Name: "public.product", ID: text("id"), HexOrdered: true, BytewiseOrdered: table.BytewiseOrdered}
	want.Fields[product.Title], want.Fields[product.Image], want.Fields[product.SellerID] = text("title"), text("image"), text("sellerId")
	want.Fields[product.Price], want.Fields[product.Quantity] = number("price"), number("quantity")
	if *table != want {
		t.Errorf("the table is\n%+v, want\n%+v", *table, want)
	}
	if unchecked := target.Unchecked(product.Kinds()); len(unchecked) != 0 {
		t.Errorf("unchecked: %q", unchecked)
	}
	if len(target.shape.references) != 1 || target.shape.references[0] != (reference{"public.cart", `r."productId" = held.id`, ""}) {
		t.Errorf("references: %v", target.shape.references)
	}
	if want := (rights{insert: true, update: allFields(), delete: true}); target.shape.rights != want || !target.MayDelete() {
		t.Errorf("the owner's rights are %+v", target.shape.rights)
	}
}

func TestDescribeColumns(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "variant", `CREATE TABLE product (
		quantity bigint DEFAULT 5, "sellerId" text, image varchar(40) NOT NULL, price numeric(8,2) NOT NULL DEFAULT 0, title varchar(300), id varchar(24) PRIMARY KEY,
		rating real, note text NOT NULL DEFAULT '', serial bigint GENERATED ALWAYS AS IDENTITY, twice numeric NOT NULL GENERATED ALWAYS AS (price * 2) STORED)`)
	table := described(t, db.URL, "variant").Table()
	literals := major(t, db) >= 16
	for got, want := range map[product.Column]product.Column{
		table.ID:                          {Name: "id", Type: product.TextColumn, TypeName: "character varying(24)", MaxLength: 24},
		table.Fields[product.Title]:       {Name: "title", Type: product.TextColumn, TypeName: "character varying(300)", MaxLength: 300, Nullable: true},
		table.Fields[product.Price]:       {Name: "price", Type: product.DecimalColumn, TypeName: "numeric(8,2)", Precision: 8, Scale: 2, HasDefault: true},
		table.Fields[product.Image]:       {Name: "image", Type: product.TextColumn, TypeName: "character varying(40)", MaxLength: 40},
		table.Fields[product.SellerID]:    {Name: "sellerId", Type: product.TextColumn, TypeName: "text", Nullable: true},
		table.Fields[product.Quantity]:    {Name: "quantity", Type: product.IntegerColumn, TypeName: "bigint", Bits: 64, Nullable: true, HasDefault: true},
		table.Fields[product.NumFields-1]: {}, // no field of the cart
	} {
		want.Literals = literals && want.Name != ""
		if got != want {
			t.Errorf("column %q is\n%+v, want\n%+v", want.Name, got, want)
		}
	}
	for i, tt := range []struct {
		columnType string
		want       product.Column
	}{
		{"smallint", product.Column{Type: product.IntegerColumn, TypeName: "smallint", Bits: 16}},
		{"real", product.Column{Type: product.FloatColumn, TypeName: "real", Bits: 32}},
		{"double precision", product.Column{Type: product.FloatColumn, TypeName: "double precision", Bits: 64}},
		{"numeric", product.Column{Type: product.DecimalColumn, TypeName: "numeric"}},
		{"numeric(5)", product.Column{Type: product.DecimalColumn, TypeName: "numeric(5,0)", Precision: 5}},
		{"numeric(3,5)", product.Column{Type: product.DecimalColumn, TypeName: "numeric(3,5)", Precision: 3, Scale: 5}},
		{"numeric(5,-2)", product.Column{Type: product.DecimalColumn, TypeName: "numeric(5,-2)", Precision: 5, Scale: -2}},
		{"text", product.Column{Type: product.TextColumn, TypeName: "text"}},
		{"char(24)", product.Column{Type: product.TextColumn, TypeName: "character(24)", MaxLength: 24, Padded: true}},
	} {
		schema := fmt.Sprintf("price%d", i)
		withSchema(db, schema, "CREATE TABLE product (%s); ALTER TABLE product ALTER price TYPE "+tt.columnType)
		tt.want.Name, tt.want.Literals = "price", literals
		if got := described(t, db.URL, schema).Table().Fields[product.Price]; got != tt.want {
			t.Errorf("price %s is\n%+v, want\n%+v", tt.columnType, got, tt.want)
		}
	}
}

func TestDescribeRefuses(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for i, tt := range []struct {
		name, statements string
		want             []string
	}{
		{"no table", "SELECT 1", []string{"does not exist", "CART_DB_URL", "CART_SCHEMA", "CART_TABLE"}},
		{"a view", "CREATE VIEW product AS SELECT * FROM public.product", []string{"this is no table", "CART_TABLE"}},
		{"a materialized view", "CREATE MATERIALIZED VIEW product AS SELECT * FROM public.product", []string{"this is no table", "CART_TABLE"}},
		{"a missing column", "CREATE TABLE product (%s); ALTER TABLE product DROP image", []string{`column "image" missing`, "CART_TABLE"}},
		{"several missing columns", "CREATE TABLE product (id varchar PRIMARY KEY, title varchar)",
			[]string{`column "price", "image", "sellerId", "quantity" missing`}},
		{"a column in other letters", `CREATE TABLE product (%s); ALTER TABLE product RENAME "sellerId" TO sellerid`, []string{`column "sellerId" missing`}},
		{"another table", "CREATE TABLE product (a integer)", []string{`column "id", "title", "price", "image", "sellerId", "quantity" missing`}},
		{"an id of type uuid", "CREATE TABLE product (%s); ALTER TABLE product ALTER id TYPE uuid USING id::uuid", []string{`column "id" is of type uuid`}},
		{"an id of type integer", "CREATE TABLE product (%s); ALTER TABLE product ALTER id TYPE integer USING id::integer", []string{`column "id" is of type integer`}},
		{"a price of type money", "CREATE TABLE product (%s); ALTER TABLE product ALTER price TYPE money", []string{`column "price" is of type money`}},
		{"a title of type jsonb", "CREATE TABLE product (%s); ALTER TABLE product ALTER title TYPE jsonb USING NULL", []string{`column "title" is of type jsonb`}},
		{"a domain", "CREATE DOMAIN name AS varchar CHECK (value <> ''); CREATE TABLE product (%s); ALTER TABLE product ALTER title TYPE name",
			[]string{`column "title" is of type`, "name"}},
		{"an array", "CREATE TABLE product (%s); ALTER TABLE product ALTER image TYPE varchar[] USING NULL", []string{`column "image" is of type character varying[]`}},
		{"a generated column", `CREATE TABLE product (%s); ALTER TABLE product DROP image; ALTER TABLE product ADD image varchar GENERATED ALWAYS AS (title) STORED`,
			[]string{`column "image"`}},
		{"several problems", "CREATE TABLE product (%s); ALTER TABLE product ALTER price TYPE money; ALTER TABLE product ALTER title TYPE jsonb USING NULL; ALTER TABLE product DROP image",
			[]string{`column "price" is of type money`, `column "title" is of type jsonb`, `column "image" missing`}},
		{"no primary key", "CREATE TABLE product (%s); ALTER TABLE product DROP CONSTRAINT product_pkey", []string{`column "id" has no primary key or unique index`}},
		{"a primary key of two columns", "CREATE TABLE product (%s); ALTER TABLE product DROP CONSTRAINT product_pkey, ADD PRIMARY KEY (id, title)",
			[]string{`column "id" has no primary key or unique index`}},
		{"a partial unique index", "CREATE TABLE product (%s); ALTER TABLE product DROP CONSTRAINT product_pkey; CREATE UNIQUE INDEX ON product (id) WHERE price > 0",
			[]string{`column "id" has no primary key or unique index`}},
		{"an index that is not unique", "CREATE TABLE product (%s); ALTER TABLE product DROP CONSTRAINT product_pkey; CREATE INDEX ON product (id)",
			[]string{`column "id" has no primary key or unique index`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			schema := fmt.Sprintf("variant%d", i)
			withSchema(db, schema, tt.statements)
			target := open(t, db.URL, schema)
			testenv.CheckMessage(t, target.Describe(t.Context()), append(tt.want, "cart table "+db.Name+"."+schema+".product: ")...)
		})
	}
}

func TestDescribeAccepts(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	for i, tt := range []struct {
		name, statements string
		unchecked        []string
		writable         bool
	}{
		{"a unique index instead of a key", "CREATE TABLE product (%s); ALTER TABLE product DROP CONSTRAINT product_pkey; CREATE UNIQUE INDEX ON product (id) INCLUDE (price)", nil, true},
		{"a partitioned table", "CREATE TABLE product (%s) PARTITION BY HASH (id); CREATE TABLE p0 PARTITION OF product FOR VALUES WITH (MODULUS 1, REMAINDER 0)", nil, true},
		{"further columns that need nothing", "CREATE TABLE product (%s, a text, b integer NOT NULL DEFAULT 1, c integer GENERATED BY DEFAULT AS IDENTITY)", nil, true},
		{"a further required column", "CREATE TABLE product (%s, category text NOT NULL)", []string{"NOT NULL of category"}, false},
		{"a checked column", "CREATE TABLE product (%s, CONSTRAINT positive CHECK (price > 0))", nil, true},
		{"a check of a further column", "CREATE TABLE product (%s, category text, CONSTRAINT known CHECK (category <> title))", nil, true},
		{"a unique title", "CREATE TABLE product (%s, CONSTRAINT once UNIQUE (title))", []string{"unique constraint once"}, true},
		{"a unique expression", "CREATE TABLE product (%s); CREATE UNIQUE INDEX lower ON product (lower(id))", []string{"unique index lower"}, true},
		{"an exclusion", `CREATE TABLE product (%s, CONSTRAINT apart EXCLUDE USING btree (title WITH =))`, []string{"exclusion constraint apart"}, true},
		{"a foreign key", "CREATE TABLE seller (id varchar PRIMARY KEY); CREATE TABLE product (%s, CONSTRAINT sold FOREIGN KEY (\"sellerId\") REFERENCES seller)", []string{"foreign key sold"}, true},
		{"a trigger", "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TABLE product (%s); CREATE TRIGGER watch BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION refuse()", []string{"trigger watch"}, true},
		{"a trigger that is off", "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TABLE product (%s); CREATE TRIGGER watch BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION refuse(); ALTER TABLE product DISABLE TRIGGER watch", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			schema := fmt.Sprintf("variant%d", i)
			withSchema(db, schema, tt.statements)
			target := described(t, db.URL, schema)
			for range 2 { // asked again it says the same
				if got := strings.Join(target.Unchecked(product.Kinds()), ", "); got != strings.Join(tt.unchecked, ", ") {
					t.Errorf("unchecked: %q, want %q", got, tt.unchecked)
				}
			}
			writer, err := target.Writer([]product.Kind{product.Missing})
			if !tt.writable {
				testenv.CheckMessage(t, err, target.Name(), "NOT NULL of category", "default")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.name == "a foreign key" {
				return // nobody sells yet
			}
			results, err := writer.Repair(t.Context(), product.Missing, 1, repairsOf(row("a", 1)))
			if err != nil || len(results) != 1 || results[0] != confirmed("a") {
				t.Errorf("a row is written: %+v, %v", results, err)
			}
			if found, err := target.Find(t.Context(), []product.ID{"a"}); err != nil || found["a"] != row("a", 1) {
				t.Errorf("%v, %v", found, err)
			}
		})
	}
}

func TestDescribeSeesRights(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	db.Insert(testenv.Row{ID: "held"})
	columns := `id, title, price, image, "sellerId", quantity`
	withSchema(db, "hidden", "CREATE TABLE product (%s); ALTER TABLE product ENABLE ROW LEVEL SECURITY")
	withSchema(db, "closed", "CREATE TABLE product (%s)")
	for _, tt := range []struct {
		name, schema string
		rights       []string
		want         []string // of the error; none: it is described
	}{
		{"nothing", "public", nil, []string{`column "id", "title", "price", "image", "sellerId", "quantity" may not be read: GRANT SELECT`}},
		{"some columns", "public", []string{"SELECT (id, title, price, image, \"sellerId\") ON product"}, []string{`column "quantity" may not be read: GRANT SELECT`}},
		{"read only", "public", []string{"SELECT ON product"}, nil},
		{"read by column", "public", []string{"SELECT (" + columns + ") ON product"}, nil},
		{"row-level security", "hidden", []string{"USAGE ON SCHEMA hidden", "SELECT ON hidden.product"}, []string{"row-level security", "BYPASSRLS"}},
		{"no way into the schema", "closed", []string{"SELECT ON closed.product"}, []string{"closed", "GRANT USAGE"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := open(t, db.Role(tt.rights...), tt.schema)
			err := target.Describe(t.Context())
			if len(tt.want) > 0 {
				testenv.CheckMessage(t, err, append(tt.want, target.Name())...)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if n, err := target.Count(t.Context()); err != nil || n < 1 {
				t.Errorf("count %d, %v", n, err)
			}
			if ids := spanned(t, target, "", "held"); !slices.Contains(ids, "held") {
				t.Errorf("rows %q", ids)
			}
		})
	}
	described(t, db.URL, "hidden") // the owner is not bound by it
}
