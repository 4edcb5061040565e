package target

import (
	"net/url"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestFunctionsThatTheRoleMayNotCall(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "closed", `CREATE FUNCTION cheap(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1 > 0; END'; CREATE FUNCTION note() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'none'; END $$;
		CREATE TABLE product (%s, n serial, note text DEFAULT note(), CONSTRAINT cheap CHECK (cheap(price))); REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA closed FROM PUBLIC`)
	rights := []string{"USAGE ON SCHEMA closed", "SELECT, INSERT, UPDATE, DELETE ON closed.product"}
	target := described(t, db.Role(rights...), "closed")
	if got := strings.Join(target.Unchecked(product.Kinds()), ", "); got != "check constraint cheap (calls closed.cheap(integer), which the role may not: GRANT EXECUTE)" {
		t.Errorf("unchecked: %q", got)
	}
	if misfits, err := target.Check(t.Context(), []product.Row{row("a", 0)}); err != nil || len(misfits) > 0 {
		t.Errorf("a comparison goes on: %v, %v", misfits, err)
	}
	_, err := target.Writer([]product.Kind{product.Missing})
	testenv.CheckMessage(t, err, "GRANT EXECUTE ON FUNCTION closed.cheap(integer)", "GRANT EXECUTE ON FUNCTION closed.note()", "GRANT USAGE ON SEQUENCE closed.product_n_seq")
	_, err = target.Writer([]product.Kind{product.Stale})
	testenv.CheckMessage(t, err, "GRANT EXECUTE ON FUNCTION closed.cheap(integer), or repair")
	if _, err := target.Writer([]product.Kind{product.Orphaned}); err != nil {
		t.Error(err)
	}
	may := described(t, db.Role(append(rights, "EXECUTE ON ALL FUNCTIONS IN SCHEMA closed", "USAGE ON closed.product_n_seq")...), "closed")
	if got := may.Unchecked(product.Kinds()); len(got) > 0 {
		t.Errorf("unchecked: %q", got)
	}
	results, err := writerOf(t, may).Repair(t.Context(), product.Missing, 1, repairsOf(row("a", 1)))
	if err != nil || results[0] != confirmed("a") {
		t.Errorf("%+v, %v", results, err)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	const secured = "CREATE TABLE product (%s); ALTER TABLE product ENABLE ROW LEVEL SECURITY; "
	for _, tt := range []struct {
		name, schema, policies string
		rights                 string
		hidden                 bool
		unchecked              string // with ROLE for the role, ": " and the kinds
		refused                bool   // the row of price 1
	}{
		{"nobody else", "alone", "", "", true, "", false},
		{"reads all", "reading", "CREATE POLICY look ON product FOR SELECT USING (true)", "", false, "", false},
		{"reads some", "partly", "CREATE POLICY look ON product FOR SELECT USING (price > 0)", "", true, "", false},
		{"reads all but", "all_but", "CREATE POLICY look ON product USING (true); CREATE POLICY never ON product AS RESTRICTIVE FOR SELECT USING (price > 0)", "", true, "", false},
		{"does all", "all_of_it", "CREATE POLICY everything ON product", "INSERT, UPDATE, DELETE", true, "", false},
		{"writes all", "writing", "CREATE POLICY everything ON product USING (true)", "INSERT, UPDATE, DELETE", false, "", false},
		{"inserts some", "inserting", "CREATE POLICY look ON product USING (true) WITH CHECK (price > 1)", "INSERT, DELETE", false, "row-level security for ROLE: missing", true},
		{"inserts, by a policy of another command", "other", "CREATE POLICY look ON product FOR SELECT USING (true); CREATE POLICY gone ON product FOR DELETE USING (true)", "INSERT, UPDATE, DELETE", false, "row-level security for ROLE: missing, stale", true},
		{"is another role's", "foreign_role", "CREATE POLICY look ON product FOR SELECT USING (true); CREATE POLICY ins ON product FOR INSERT TO pg_monitor WITH CHECK (true)", "INSERT", false, "row-level security for ROLE: missing", true},
	} {
		withSchema(db, tt.schema, secured+tt.policies)
		rights := []string{"USAGE ON SCHEMA " + tt.schema, "SELECT ON " + tt.schema + ".product"}
		if tt.rights != "" {
			rights = append(rights, tt.rights+" ON "+tt.schema+".product")
		}
		address := db.Role(rights...)
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := open(t, address, tt.schema)
			err := target.Describe(t.Context())
			if tt.hidden {
				testenv.CheckMessage(t, err, "row-level security hides rows", "BYPASSRLS")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			name, kinds, _ := strings.Cut(strings.Replace(tt.unchecked, "ROLE", userOf(t, address), 1), ": ")
			for _, kind := range product.Kinds() {
				want := ""
				if strings.Contains(kinds, string(kind)) {
					want = name
				}
				if got := strings.Join(target.Unchecked([]product.Kind{kind}), ", "); got != want {
					t.Errorf("%s: unchecked %q, want %q", kind, got, want)
				}
			}
			if !strings.Contains(tt.rights, "INSERT") {
				return
			}
			writer, err := target.Writer([]product.Kind{product.Missing})
			if err != nil {
				t.Fatal(err)
			}
			results, err := writer.Repair(t.Context(), product.Missing, 1, repairsOf(row("a", 1)))
			if err != nil || (results[0].Err != nil) != tt.refused {
				t.Errorf("%+v, %v", results, err)
			}
		})
	}
	// To the owner, and to a superuser, policies are nothing, unless the owner is bound too.
	if got := described(t, db.URL, "reading").Unchecked(product.Kinds()); len(got) > 0 {
		t.Errorf("unchecked: %q", got)
	}
}

func userOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal("the address is no URL")
	}
	return u.User.Username()
}

// A trigger that fires for replicas only does so for the cart's consumer where its role's
// settings make it one.
func TestCaseB6ReplicaTriggerDoesNotCount(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "replica", `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; CREATE TABLE product (%s);
		CREATE TRIGGER refuse AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION refuse(); ALTER TABLE product ENABLE REPLICA TRIGGER refuse`)
	target := described(t, db.URL, "replica")
	if got := target.Unchecked(product.Kinds()); len(got) > 0 {
		t.Errorf("unchecked: %q", got)
	}
	results, err := writerOf(t, target).Repair(t.Context(), product.Missing, 1, repairsOf(row("a", 1)))
	if err != nil || results[0] != confirmed("a") {
		t.Errorf("%+v, %v", results, err)
	}
	db.Exec("ALTER DATABASE " + db.Name + " SET session_replication_role = replica")
	if err := target.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := target.Unchecked(product.Kinds()); len(got) != 1 || got[0] != "trigger refuse" {
		t.Errorf("unchecked: %q", got)
	}
	if got := target.Unchecked([]product.Kind{product.Stale, product.Orphaned}); len(got) > 0 {
		t.Errorf("it is a trigger of inserts: %q", got)
	}
}

// A trigger that changes a row before it is made decides what is checked.
func TestCheckLeavesRowsToTheirTriggers(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "mended", `CREATE FUNCTION mend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.price := abs(NEW.price); RETURN NEW; END $$; CREATE TABLE product (%s, CONSTRAINT cheap CHECK (price >= 0));
		CREATE TRIGGER mend BEFORE INSERT ON product FOR EACH ROW EXECUTE FUNCTION mend(); INSERT INTO product VALUES ('there', '', 1, '', '', 1)`)
	target := described(t, db.URL, "mended")
	misfits, err := target.Check(t.Context(), []product.Row{row("absent", -1), row("there", -1)})
	if err != nil || len(misfits) != 1 || misfits["there"] == nil {
		t.Errorf("%v, %v", misfits, err)
	}
	db.Exec("CREATE TRIGGER mend2 BEFORE UPDATE ON mended.product FOR EACH ROW EXECUTE FUNCTION mended.mend()")
	if err := target.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if misfits, err := target.Check(t.Context(), []product.Row{row("absent", -1), row("there", -1)}); err != nil || len(misfits) > 0 {
		t.Errorf("%v, %v", misfits, err)
	}
}

// The values that a row already has count where an event leaves them as they are.
func TestCheckSeesTheRowThatIsThere(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	withSchema(db, "discounted", `CREATE TABLE product (%s, least integer DEFAULT 10, CONSTRAINT least CHECK (price >= least)); ALTER TABLE product ALTER quantity SET DEFAULT 0, ADD CONSTRAINT stock CHECK (quantity > 0);
		INSERT INTO product VALUES ('dear', '', 100, '', '', 1, 50)`)
	target := described(t, db.URL, "discounted")
	unfilled := row("unfilled", 20)
	unfilled.Values[product.Quantity] = product.Value{}
	misfits, err := target.Check(t.Context(), []product.Row{row("dear", 20), row("new", 20), row("cheap", 9), unfilled})
	if err != nil || len(misfits) != 3 || misfits["dear"] == nil || misfits["cheap"] == nil || misfits["unfilled"] == nil || misfits["unfilled"].Column != "stock" {
		t.Errorf("%v, %v", misfits, err)
	}
}
