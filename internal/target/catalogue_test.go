package target

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

// catalogued is a table, and what is known of it before any row is written.
type catalogued struct {
	name, statements string
	since            int // version of PostgreSQL
	// column is what each misfit names; empty where Check refuses nothing.
	column string
	// missing, stale and orphaned are what only the database can judge.
	missing, stale, orphaned string
	// refuses: the table refuses a row that Check knows nothing of.
	refuses bool
}

// range by id, without a place for ids from f on.
const ranged = `CREATE TABLE product (%s) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF product FOR VALUES FROM ('0') TO ('8'); CREATE TABLE high PARTITION OF product FOR VALUES FROM ('8') TO ('f'); `

// watch is a trigger's function that refuses odd prices.
const watch = `CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP <> 'DELETE' AND TG_LEVEL = 'ROW' THEN IF NEW.price %% 2 = 1 THEN RAISE 'odd'; END IF; RETURN NEW; END IF; RETURN OLD; END $$; `

var partitionKinds = []catalogued{
	{name: "no partition at all", statements: "CREATE TABLE product (%s) PARTITION BY RANGE (id)", column: "id"},
	{name: "ranges", statements: ranged, column: "id"},
	{name: "ranges with a default", statements: ranged + "CREATE TABLE rest PARTITION OF product DEFAULT"},
	{name: "ranges by another collation than the column's", statements: `CREATE TABLE product (id varchar COLLATE "en-x-icu", title varchar, price integer, image varchar, "sellerId" varchar, quantity integer) PARTITION BY RANGE (id COLLATE "C"); CREATE UNIQUE INDEX ON product (id COLLATE "C");
		CREATE TABLE low PARTITION OF product FOR VALUES FROM ('0') TO ('B')`, column: "id"},
	{name: "a list", statements: "CREATE TABLE product (%s) PARTITION BY LIST (id); CREATE TABLE two PARTITION OF product FOR VALUES IN ('f0', '3a')", column: "id"},
	{name: "half a hash", statements: "CREATE TABLE product (%s) PARTITION BY HASH (id); CREATE TABLE half PARTITION OF product FOR VALUES WITH (MODULUS 2, REMAINDER 0)", column: "id"},
	{name: "a whole hash", statements: "CREATE TABLE product (%s) PARTITION BY HASH (id); CREATE TABLE half PARTITION OF product FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE a PARTITION OF product FOR VALUES WITH (MODULUS 4, REMAINDER 1); CREATE TABLE b PARTITION OF product FOR VALUES WITH (MODULUS 4, REMAINDER 3)"},
	{name: "a hash of a domain", statements: "CREATE DOMAIN key AS varchar; CREATE TABLE product (id key PRIMARY KEY, title varchar, price integer, image varchar, \"sellerId\" varchar, quantity integer) PARTITION BY HASH (id); CREATE TABLE half PARTITION OF product FOR VALUES WITH (MODULUS 2, REMAINDER 0)", column: "id"},
	{name: "partitions of a partition", statements: `CREATE TABLE product (%s) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF product FOR VALUES FROM ('0') TO ('8') PARTITION BY LIST (id); CREATE TABLE one PARTITION OF low FOR VALUES IN ('3a');
		CREATE TABLE rest PARTITION OF product DEFAULT PARTITION BY HASH (id); CREATE TABLE all_rest PARTITION OF rest FOR VALUES WITH (MODULUS 1, REMAINDER 0)`, column: "id"},
	{name: "attached, with columns in another order and more rules", statements: strings.Replace(ranged, "(%s)", `(id varchar PRIMARY KEY, title varchar, price integer, image varchar, "sellerId" varchar, quantity integer)`, 1) +
		`CREATE TABLE rest (quantity integer, gone integer, "sellerId" varchar, image varchar, price integer, title varchar NOT NULL, id varchar NOT NULL, CONSTRAINT few CHECK (quantity > 0)); ALTER TABLE rest DROP gone; ALTER TABLE product ATTACH PARTITION rest DEFAULT`, column: "few"},
	{name: "a NOT NULL of a partition", statements: `CREATE TABLE product (id varchar PRIMARY KEY, title varchar, price integer, image varchar, "sellerId" varchar, quantity integer) PARTITION BY RANGE (id);
		CREATE TABLE low PARTITION OF product FOR VALUES FROM ('0') TO ('8'); CREATE TABLE rest PARTITION OF product (image NOT NULL) DEFAULT`, column: "image"},
	{name: "a check of the table and one of a partition of a partition", statements: `CREATE TABLE product (%s, CONSTRAINT dear CHECK (price < 1000)) PARTITION BY RANGE (id); CREATE TABLE all_of PARTITION OF product (CONSTRAINT dear2 CHECK (quantity > 0)) DEFAULT PARTITION BY HASH (id);
		CREATE TABLE each PARTITION OF all_of (CONSTRAINT dear3 CHECK (title <> '')) FOR VALUES WITH (MODULUS 1, REMAINDER 0)`, column: "dear*"},
	{name: "a division that only a partition does", statements: ranged + "CREATE TABLE rest PARTITION OF product (CONSTRAINT ratio CHECK (100 / price >= 0)) DEFAULT", column: "ratio"},
	{name: "a trigger of a partition", statements: watch + ranged + "CREATE TABLE rest PARTITION OF product DEFAULT; CREATE TRIGGER watch BEFORE INSERT OR UPDATE ON high FOR EACH ROW EXECUTE FUNCTION watch()",
		missing: "trigger watch of @schema.high", stale: "trigger watch of @schema.high", refuses: true},
	{name: "a trigger of the table and its partitions", statements: watch + ranged + "CREATE TABLE rest PARTITION OF product DEFAULT; CREATE TRIGGER watch AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION watch()", missing: "trigger watch", refuses: true},
	{name: "a trigger of each statement on a partition", statements: watch + ranged + "CREATE TABLE rest PARTITION OF product DEFAULT; CREATE TRIGGER watch AFTER INSERT ON low FOR EACH STATEMENT EXECUTE FUNCTION watch()"},
	{name: "unique in a partition", statements: ranged + "CREATE TABLE rest PARTITION OF product DEFAULT; CREATE UNIQUE INDEX once ON low (quantity)", missing: "unique index once of @schema.low", stale: "unique index once of @schema.low", refuses: true},
	{name: "a foreign table that inherits", statements: "CREATE EXTENSION IF NOT EXISTS file_fdw WITH SCHEMA public; CREATE SERVER IF NOT EXISTS files FOREIGN DATA WRAPPER file_fdw; CREATE TABLE product (%s); CREATE FOREIGN TABLE heir () INHERITS (product) SERVER files OPTIONS (filename '/dev/null')",
		stale: "foreign table @schema.heir", orphaned: "foreign table @schema.heir"},
	{name: "ids that are unique in each partition only", statements: `CREATE TABLE product (id varchar NOT NULL, title varchar, price integer, image varchar, "sellerId" varchar, quantity integer) PARTITION BY RANGE (id); CREATE TABLE low PARTITION OF product (PRIMARY KEY (id)) FOR VALUES FROM ('0') TO ('8');
		CREATE TABLE rest PARTITION OF product (UNIQUE (id)) DEFAULT`},
	{name: "a partition by an expression", statements: `CREATE TABLE all_products (id varchar, title varchar, price integer, image varchar, "sellerId" varchar, quantity integer) PARTITION BY RANGE (lower(id)); CREATE TABLE product PARTITION OF all_products (PRIMARY KEY (id)) FOR VALUES FROM ('0') TO ('f')`,
		missing: "partition bounds (looks at more than columns)", stale: "partition bounds (looks at more than columns)", refuses: true},
	{name: "a partition of another table", statements: `CREATE TABLE all_products (%s) PARTITION BY RANGE (id); CREATE TABLE product PARTITION OF all_products FOR VALUES FROM ('0') TO ('f')`, column: "id"},
	{name: "a table that inherits", statements: `CREATE TABLE product (%s); CREATE TABLE heir (more integer NOT NULL DEFAULT 1, CONSTRAINT heirs CHECK (price > 50)) INHERITS (product); INSERT INTO heir VALUES ('heir', '', 100, '', '', 1)`},
	{name: "a table with an ancestor", statements: `CREATE TABLE base (price integer, CONSTRAINT cheap CHECK (price > 0)); CREATE TABLE product (%s) INHERITS (base)`, column: "cheap"},
}

var checkKinds = []catalogued{
	{name: "not valid", statements: "CREATE TABLE product (%s); ALTER TABLE product ADD CONSTRAINT cheap CHECK (price > 0) NOT VALID", column: "cheap"},
	{name: "not enforced", statements: "CREATE TABLE product (%s, CONSTRAINT cheap CHECK (price > 0) NOT ENFORCED)", since: 18},
	{name: "a foreign key that is not enforced", statements: `CREATE TABLE seller (id varchar PRIMARY KEY); CREATE TABLE product (%s, FOREIGN KEY ("sellerId") REFERENCES seller NOT ENFORCED)`, since: 18},
	{name: "NOT NULL as a constraint that is not valid", statements: `CREATE TABLE product (id varchar PRIMARY KEY, title varchar, price integer, image varchar, "sellerId" varchar, quantity integer); ALTER TABLE product ADD CONSTRAINT demanded NOT NULL image NOT VALID`, since: 18},
	{name: "the whole row", statements: "CREATE TABLE product (%s); ALTER TABLE product ADD CONSTRAINT full_row CHECK (product.* IS NOT NULL)",
		missing: "check constraint full_row (looks at more than columns)", stale: "check constraint full_row (looks at more than columns)"},
	{name: "a system column", statements: "CREATE TABLE product (%s, CONSTRAINT here CHECK (tableoid > 0))",
		missing: "check constraint here (looks at more than columns)", stale: "check constraint here (looks at more than columns)"},
	{name: "a column that stays NULL", statements: "CREATE TABLE product (%s, discount integer, CONSTRAINT lower CHECK (discount < price))"},
	{name: "a column that must be filled", statements: "CREATE TABLE product (%s, discount integer, CONSTRAINT filled CHECK (discount IS NOT NULL))", column: "filled"},
	{name: "a column with a default", statements: "CREATE TABLE product (%s, discount integer DEFAULT 50, CONSTRAINT lower CHECK (discount < price))", column: "lower"},
	{name: "a column with a time as its default", statements: "CREATE TABLE product (%s, created timestamptz DEFAULT now(), CONSTRAINT late CHECK (created < '2001-01-01'))",
		missing: "check constraint late (looks at column created, whose value depends on now(), which may change)", stale: "check constraint late (looks at column created, whose value depends on now(), which may change)", refuses: true},
	{name: "a numbered column", statements: "CREATE TABLE product (%s, n integer GENERATED ALWAYS AS IDENTITY, CONSTRAINT few CHECK (n < 3))",
		missing: "check constraint few (looks at column n, which is numbered)", stale: "check constraint few (looks at column n, which is numbered)", refuses: true},
	{name: "a volatile function", statements: "CREATE FUNCTION cheap(integer) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 0'; CREATE TABLE product (%s, CONSTRAINT cheap CHECK (cheap(price)))",
		missing: "check constraint cheap (depends on @schema.cheap(integer), which may change)", stale: "check constraint cheap (depends on @schema.cheap(integer), which may change)", refuses: true},
	{name: "a value of the session", statements: "CREATE TABLE product (%s, CONSTRAINT who CHECK (current_user <> title))",
		missing: "check constraint who (depends on a value of the session, which may change)", stale: "check constraint who (depends on a value of the session, which may change)"},
	{name: "an immutable function", statements: "CREATE FUNCTION cheap(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 > 0; END'; CREATE TABLE product (%s, CONSTRAINT cheap CHECK (cheap(price)))", column: "cheap"},
	{name: "a collation of the column's own", statements: `CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE product (%s, CONSTRAINT shouted CHECK (title <> 'TITLE OF 3A')); ALTER TABLE product ALTER title TYPE varchar COLLATE caseless`, column: "shouted"},
	{name: "what is joined", statements: "CREATE TABLE product (%s, CONSTRAINT joined CHECK (concat(title, image) <> 'https://images.shop.example/a.jpg'))", column: "joined"},
	{name: "a name like an alias", statements: `CREATE TABLE product (%s, candidate integer DEFAULT 60, held integer, given text, "Odd ""name" integer DEFAULT 1, CONSTRAINT named CHECK (candidate < price AND held IS NULL AND given IS NULL AND "Odd ""name" = 1))`, column: "named"},
	{name: "generated", statements: "CREATE TABLE product (%s, share integer GENERATED ALWAYS AS (100 / price) STORED)", column: "share"},
	{name: "generated, and demanded", statements: "CREATE TABLE product (%s, share integer NOT NULL GENERATED ALWAYS AS (nullif(quantity, 0)) STORED)", column: "share"},
	{name: "generated, and cut", statements: "CREATE TABLE product (%s, short varchar(20) GENERATED ALWAYS AS (title) STORED)", column: "short"},
	{name: "a check of what is generated", statements: "CREATE TABLE product (%s, twice bigint GENERATED ALWAYS AS (price * 2::bigint) STORED, CONSTRAINT few CHECK (twice < 1000))", column: "few"},
	{name: "a check of what is virtual", statements: "CREATE TABLE product (%s, twice bigint GENERATED ALWAYS AS (price * 2::bigint) VIRTUAL, CONSTRAINT few CHECK (twice < 1000))", column: "few", since: 18},
	{name: "virtual, and never looked at", statements: "CREATE TABLE product (%s, share integer GENERATED ALWAYS AS (100 / price) VIRTUAL)", since: 18},
	{name: "domains", statements: `CREATE DOMAIN amount AS integer CHECK (VALUE >= 0); CREATE DOMAIN cost AS amount CONSTRAINT payable CHECK (VALUE < 1000); CREATE TABLE product (%s); ALTER TABLE product ALTER price TYPE cost`, column: "price"},
	{name: "a domain of text", statements: `CREATE DOMAIN label AS varchar(4000) NOT NULL CHECK (VALUE <> ''); CREATE TABLE product (%s); ALTER TABLE product ALTER title TYPE label`, column: "title"},
	{name: "a domain of numeric", statements: `CREATE DOMAIN cost AS numeric(12,2) CHECK (VALUE > 0); CREATE TABLE product (%s); ALTER TABLE product ALTER price TYPE cost`, column: "price"},
	{name: "a domain of the id", statements: `CREATE DOMAIN key AS varchar CHECK (VALUE ~ '^[0-9a-f]+$'); CREATE TABLE product (%s); ALTER TABLE product ALTER id TYPE key`, column: "id"},
	{name: "a domain of what is not filled", statements: `CREATE DOMAIN named AS text CHECK (VALUE IS NOT NULL); CREATE TABLE product (%s, note named)`, column: "note"},
	{name: "a domain with a default", statements: `CREATE DOMAIN named AS text DEFAULT 'none' NOT NULL; CREATE TABLE product (%s, note named)`},
	{name: "a demanded domain without one", statements: `CREATE DOMAIN named AS text NOT NULL; CREATE TABLE product (%s, note named)`, missing: "NOT NULL of note", refuses: true},
	{name: "an enum", statements: `CREATE TYPE mood AS ENUM ('new', 'old'); CREATE TABLE product (%s, state mood NOT NULL DEFAULT 'new', CONSTRAINT fresh CHECK (state = 'new' AND price > 0))`, column: "fresh"},
	{name: "citext", statements: `CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public; CREATE TABLE product (%s, CONSTRAINT shouted CHECK (title::public.citext OPERATOR(public.<>) 'TITLE OF 3A'))`, column: "shouted"},
}

var indexKinds = []catalogued{
	{name: "an index of an expression", statements: "CREATE TABLE product (%s); CREATE INDEX share ON product ((100 / price))", column: "share"},
	{name: "an index of an expression of some rows", statements: "CREATE TABLE product (%s); CREATE INDEX share ON product ((100 / price)) WHERE price <> 0"},
	{name: "an index of a condition", statements: "CREATE TABLE product (%s); CREATE INDEX share ON product (quantity) WHERE 100 / price > 1", column: "share"},
	{name: "an index of texts", statements: "CREATE TABLE product (%s); CREATE INDEX titles ON product (price, title)", column: "title"},
	{name: "an index of lower texts", statements: "CREATE TABLE product (%s); CREATE INDEX titles ON product (lower(title))", column: "titles"},
	{name: "a hash index of texts", statements: "CREATE TABLE product (%s); CREATE INDEX titles ON product USING hash (title)"},
	{name: "a unique index with the id", statements: "CREATE TABLE product (%s); CREATE UNIQUE INDEX once ON product (price, id)"},
	{name: "a unique index of what is not filled", statements: "CREATE TABLE product (%s, sku text UNIQUE)"},
	{name: "a unique index that takes NULLs for equal", statements: "CREATE TABLE product (%s, sku text UNIQUE NULLS NOT DISTINCT)", missing: "unique constraint product_sku_key", refuses: true},
	{name: "a unique index of numbers", statements: "CREATE TABLE product (%s, n bigserial UNIQUE, m integer GENERATED ALWAYS AS IDENTITY UNIQUE, u uuid DEFAULT gen_random_uuid() UNIQUE)"},
	{name: "a unique index of a constant", statements: "CREATE TABLE product (%s, n integer DEFAULT 1, CONSTRAINT once UNIQUE (n))", missing: "unique constraint once", refuses: true},
	{name: "a unique index of a field and what is not filled", statements: "CREATE TABLE product (%s, sku text, CONSTRAINT once UNIQUE (sku, quantity))", stale: "unique constraint once"},
	{name: "a unique index of some rows", statements: "CREATE TABLE product (%s); CREATE UNIQUE INDEX once ON product (quantity) WHERE price > 1", missing: "unique index once", stale: "unique index once", refuses: true},
	{name: "a unique index of an expression", statements: `CREATE TABLE product (%s); CREATE UNIQUE INDEX once ON product ((price / 10000000))`, missing: "unique index once", stale: "unique index once", refuses: true},
	{name: "a unique seller", statements: `CREATE TABLE product (%s, CONSTRAINT once UNIQUE ("sellerId") DEFERRABLE INITIALLY DEFERRED)`, missing: "unique constraint once", refuses: true},
	{name: "an id that is compared at the end", statements: strings.Replace("CREATE TABLE product (%s)", "%s", strings.Replace(typeORM, "PRIMARY KEY", "PRIMARY KEY DEFERRABLE INITIALLY DEFERRED", 1), 1)},
	{name: "an exclusion", statements: "CREATE TABLE product (%s, CONSTRAINT apart EXCLUDE USING btree (quantity WITH =))", missing: "exclusion constraint apart", stale: "exclusion constraint apart", refuses: true},
	{name: "an exclusion of what is not filled", statements: "CREATE TABLE product (%s, shelf int4range, CONSTRAINT apart EXCLUDE USING gist (shelf WITH &&))"},
	{name: "a foreign key", statements: `CREATE TABLE seller (id varchar PRIMARY KEY); CREATE TABLE product (%s, CONSTRAINT sold FOREIGN KEY ("sellerId") REFERENCES seller DEFERRABLE INITIALLY DEFERRED)`, missing: "foreign key sold", refuses: true},
	{name: "a foreign key of what is not filled", statements: `CREATE TABLE shelf (n integer PRIMARY KEY); CREATE TABLE product (%s, shelf integer REFERENCES shelf)`},
	{name: "a foreign key of all or nothing", statements: `CREATE TABLE shelf (n integer, m integer, PRIMARY KEY (n, m)); CREATE TABLE product (%s, shelf integer, CONSTRAINT stands FOREIGN KEY (quantity, shelf) REFERENCES shelf MATCH FULL)`, missing: "foreign key stands", stale: "foreign key stands", refuses: true},
	{name: "a foreign key that is off", statements: `CREATE TABLE shelf (n integer PRIMARY KEY); CREATE TABLE product (%s, CONSTRAINT stands FOREIGN KEY (quantity) REFERENCES shelf); ALTER TABLE product DISABLE TRIGGER ALL`},
	{name: "a reference to another column", statements: `CREATE TABLE product (%s, CONSTRAINT once UNIQUE (quantity)); CREATE TABLE poster (n integer, CONSTRAINT shown FOREIGN KEY (n) REFERENCES product (quantity))`,
		missing: "unique constraint once", stale: "unique constraint once, foreign key shown of @schema.poster", refuses: true},
	{name: "references to the id", statements: `CREATE TABLE product (%s); CREATE TABLE a (p varchar REFERENCES product ON DELETE SET NULL); CREATE TABLE b (p varchar REFERENCES product ON DELETE RESTRICT DEFERRABLE) PARTITION BY LIST (p); CREATE TABLE b1 PARTITION OF b DEFAULT`},
	{name: "a publication of rows that nothing identifies", statements: `CREATE TABLE product (%s); ALTER TABLE product DROP CONSTRAINT product_pkey; CREATE UNIQUE INDEX ON product (id); CREATE PUBLICATION @schema_news FOR TABLE product`,
		stale: "publication @schema_news", orphaned: "publication @schema_news"},
}

var triggerKinds = []catalogued{
	{name: "before insert", statements: watch + "CREATE TABLE product (%s); CREATE TRIGGER watch BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION watch()", missing: "trigger watch", refuses: true},
	{name: "after update of a field", statements: watch + "CREATE TABLE product (%s); CREATE TRIGGER watch AFTER UPDATE OF price ON product FOR EACH ROW EXECUTE FUNCTION watch()", stale: "trigger watch"},
	{name: "after update of what no event sets", statements: watch + `CREATE TABLE product (%s, note text); CREATE TRIGGER watch AFTER UPDATE OF note, "sellerId" ON product FOR EACH ROW EXECUTE FUNCTION watch()`},
	{name: "before delete", statements: watch + "CREATE TABLE product (%s); CREATE TRIGGER watch BEFORE DELETE ON product FOR EACH ROW EXECUTE FUNCTION watch()", orphaned: "trigger watch"},
	{name: "of each statement", statements: watch + "CREATE TABLE product (%s); CREATE TRIGGER watch AFTER INSERT OR UPDATE OR DELETE ON product FOR EACH STATEMENT EXECUTE FUNCTION watch()", missing: "trigger watch", stale: "trigger watch", orphaned: "trigger watch"},
	{name: "of TRUNCATE", statements: watch + "CREATE TABLE product (%s); CREATE TRIGGER watch BEFORE TRUNCATE ON product FOR EACH STATEMENT EXECUTE FUNCTION watch()"},
	{name: "a constraint", statements: watch + "CREATE TABLE product (%s); CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON product DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch()", missing: "trigger watch", refuses: true},
	{name: "a constraint that is off", statements: watch + "CREATE TABLE product (%s); CREATE CONSTRAINT TRIGGER watch AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION watch(); ALTER TABLE product DISABLE TRIGGER watch"},
	{name: "for replicas only", statements: watch + "CREATE TABLE product (%s); CREATE TRIGGER watch AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION watch(); ALTER TABLE product ENABLE REPLICA TRIGGER watch"},
	{name: "always", statements: watch + "CREATE TABLE product (%s); CREATE TRIGGER watch AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION watch(); ALTER TABLE product ENABLE ALWAYS TRIGGER watch", missing: "trigger watch", refuses: true},
	{name: "an event trigger", statements: `CREATE FUNCTION ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER @schema_ddl ON ddl_command_end EXECUTE FUNCTION ddl(); CREATE TABLE product (%s)`},
	{name: "a rule that does more", statements: `CREATE TABLE product (%s); CREATE TABLE log (id varchar); CREATE RULE more AS ON INSERT TO product DO ALSO INSERT INTO log VALUES (NEW.id)`, missing: "rule more"},
	{name: "a rule that does nothing", statements: `CREATE TABLE product (%s); CREATE RULE keep AS ON DELETE TO product DO INSTEAD NOTHING`, orphaned: "rule keep"},
	{name: "a rule of updates", statements: `CREATE TABLE product (%s); CREATE TABLE log (id varchar); CREATE RULE more AS ON UPDATE TO product DO ALSO INSERT INTO log VALUES (NEW.id)`, stale: "rule more"},
	{name: "a rule that is off", statements: `CREATE TABLE product (%s); CREATE RULE keep AS ON INSERT TO product DO INSTEAD NOTHING; ALTER TABLE product DISABLE RULE keep`},
	{name: "an unlogged table", statements: `CREATE UNLOGGED TABLE product (%s)`},
}

// What Check says of a row is what the table does with it, whatever else the catalogue
// holds; and what only the database can judge is named for the repairs that it may refuse,
// and for no others.
func TestCataloguedKinds(t *testing.T) {
	t.Parallel()
	t.Run("the cart's PostgreSQL", func(t *testing.T) {
		t.Parallel()
		checkCatalogued(t, testenv.Cart(t))
	})
	t.Run("the next PostgreSQL", func(t *testing.T) {
		t.Parallel()
		checkCatalogued(t, testenv.Cart(t, testenv.OnPostgreSQL(testenv.NextPostgreSQL(t).URL)))
	})
}

func checkCatalogued(t *testing.T, db *testenv.CartDB) {
	version := major(t, db)
	for i, tt := range slices.Concat(partitionKinds, checkKinds, indexKinds, triggerKinds) {
		if tt.since > version {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			schema := fmt.Sprintf("kind%d", i)
			named := strings.NewReplacer("@schema", schema, "%%", "%")
			withSchema(db, schema, named.Replace(tt.statements))
			target := described(t, db.URL, schema)
			for kind, want := range map[product.Kind]string{product.Missing: tt.missing, product.Stale: tt.stale, product.Orphaned: tt.orphaned} {
				if got := strings.Join(target.Unchecked([]product.Kind{kind}), ", "); got != named.Replace(want) {
					t.Errorf("%s: unchecked %q, want %q", kind, got, named.Replace(want))
				}
			}
			tt.judge(t, target)
		})
	}
}

// sample are rows of many shapes.
func sample() (rows []product.Row) {
	for i, id := range []string{"30", "3a", "b1", "b2", "f0", "f1", "zebra", "Bear", "cheap", "dear", "untitled", "long", "no stock", "plain", "offer", "2"} {
		rows = append(rows, row(id, int64(60+2*i)))
	}
	rows[5].Values[product.Price] = product.IntegerValue(61)
	rows[3].Values[product.Price] = product.IntegerValue(45)
	rows[8].Values[product.Price] = product.IntegerValue(0)
	rows[9].Values[product.Price] = product.IntegerValue(2_000_000_000)
	rows[10].Values[product.Title] = product.TextValue("")
	rows[11].Values[product.Title] = product.TextValue(incompressible(3_500))
	rows[12].Values[product.Quantity] = product.IntegerValue(0)
	rows[14].Values[product.Price] = product.IntegerValue(0)
	rows[15].Values[product.Quantity] = product.IntegerValue(0)
	return rows
}

func (tt catalogued) judge(t *testing.T, target *Target) {
	rows := sample()
	if target.Table().Fields[product.Image].Nullable { // otherwise nothing would be sent
		rows[4].Values[product.Image] = product.NullValue()
	}
	there := tt.compare(t, target, product.Missing, tt.missing != "", rows, repairsOf(rows...))
	// Each row that is there shall be another one.
	var repairs []product.Repair
	var wanted []product.Row
	for i, was := range there {
		next := rows[(i+1)%len(rows)]
		next.ID, next.Values[product.SellerID] = was.ID, was.Values[product.SellerID]
		wanted = append(wanted, next)
		repairs = append(repairs, staleFrom(was, next))
	}
	tt.column = "*"
	tt.refuses = false
	tt.compare(t, target, product.Stale, tt.stale != "", wanted, repairs)
}

// compare asks Check and then the table. It returns the rows that the table took.
func (tt catalogued) compare(t *testing.T, target *Target, kind product.Kind, unchecked bool, rows []product.Row, repairs []product.Repair) (taken []product.Row) {
	t.Helper()
	misfits, err := target.Check(t.Context(), rows)
	if err != nil {
		t.Fatal(err)
	}
	writer, err := target.Writer([]product.Kind{kind})
	if err != nil { // nothing can be done, which is named
		unchecked := target.Unchecked([]product.Kind{kind})
		testenv.CheckMessage(t, err, "nothing that is "+string(kind)+" can be repaired in "+target.Name(), unchecked[0])
		return nil
	}
	results, err := writer.Repair(t.Context(), kind, 1, repairs)
	if err != nil {
		t.Fatal(err)
	}
	surprises := 0
	for i, r := range results {
		misfit, refused := misfits[r.ID]
		var why *product.Misfit
		if r.Err != nil && !errors.As(r.Err, &why) {
			t.Errorf("%s %q: %v", kind, r.ID, r.Err)
		}
		switch written := r.Fate == product.Confirmed; {
		case written && refused:
			t.Errorf("%s %q is taken, and Check refuses it: %v", kind, r.ID, misfit)
		case !written && !refused && !unchecked:
			t.Errorf("%s %q is refused, and Check does not know: %v", kind, r.ID, r.Err)
		case !written && !refused:
			surprises++
		case written:
			taken = append(taken, rows[i])
		}
		if refused && misfit.Column != tt.column && (!strings.HasSuffix(tt.column, "*") || !strings.HasPrefix(misfit.Column, strings.TrimSuffix(tt.column, "*"))) {
			t.Errorf("%s %q: %v, want column %q", kind, r.ID, misfit, tt.column)
		}
	}
	if tt.column != "*" && (len(misfits) == 0) != (tt.column == "") {
		t.Errorf("%s: misfits %v", kind, slices.Collect(maps.Values(misfits)))
	}
	if tt.refuses && surprises == 0 {
		t.Errorf("%s: the table refuses nothing", kind)
	}
	return taken
}
