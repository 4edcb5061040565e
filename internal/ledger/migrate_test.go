package ledger

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	one := open(t, db.URL, "products")
	ledgers := make(chan *Ledger, 12)
	for range cap(ledgers) / 2 {
		ledgers <- one
		ledgers <- open(t, db.URL, "products")
	}
	concurrently(cap(ledgers), func() func() {
		err := (<-ledgers).Migrate(t.Context())
		return func() {
			if err != nil {
				t.Error(err)
			}
		}
	})
	if n := count(t, one, "etl_ledger.goose_db_version WHERE version_id = 1"); n != 1 {
		t.Errorf("migrated %d times", n)
	}
	submitted(t, one)
}

// The library that migrates logs on its own by default. Not parallel: it looks at
// what the whole process prints.
func TestMigratePrintsNothing(t *testing.T) {
	var logged bytes.Buffer
	log.SetOutput(&logged)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = write
	t.Cleanup(func() { os.Stdout = stdout })
	l := fresh(t)
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	printed, err := io.ReadAll(read)
	if err != nil || len(printed) > 0 || logged.Len() > 0 {
		t.Errorf("printed %q and logged %q, %v", printed, logged.String(), err)
	}
}

// A schema of a later version is used by the programs that it names, and by no others.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	newest := all[len(all)-1].version
	for _, tt := range []struct {
		name   string
		states string // what the schema says of version 99
		usable bool
	}{
		{"compatible with this version", fmt.Sprintf("(99, %d)", newest), true},
		{"compatible with any", "(99, 0)", true},
		{"not compatible", fmt.Sprintf("(99, %d)", newest+1), false},
		{"compatible once, and then not", fmt.Sprintf("(98, 0), (99, %d)", newest+4), false},
		{"silent about it", "(97, 0)", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := fresh(t)
			execute(t, l, "INSERT INTO "+versionTable+" (version_id, is_applied) VALUES (99, true)")
			execute(t, l, "INSERT INTO "+compatibilityTable+" (version, since) VALUES "+tt.states)
			current, checked := l.Check(t.Context())
			err := l.Migrate(t.Context())
			if tt.usable {
				if err != nil || checked != nil || !current {
					t.Errorf("migrated with %v; a look says %t, %v", err, current, checked)
				}
				submitted(t, l)
				return
			}
			testenv.CheckMessage(t, err, "schema etl_ledger of ETL_STATE_DB_URL is of version 99 and can be used by programs that know version",
				fmt.Sprintf("or later; this one knows %d: run the newer program", newest))
			if current || checked == nil || checked.Error() != err.Error() {
				t.Errorf("a look says %t, %v; it is %v", current, checked, err)
			}
		})
	}
}

// A process that was there before the schema changed goes on where it can use it, and
// otherwise claims nothing any more and says why, until the newer program is there.
func TestTheSchemaChangesUnderAProcess(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	change := func(version, since int64) {
		execute(t, l, fmt.Sprintf("INSERT INTO %s (version_id, is_applied) VALUES (%d, true)", versionTable, version))
		execute(t, l, fmt.Sprintf("INSERT INTO %s (version, since) VALUES (%d, %d)", compatibilityTable, version, since))
	}
	submitted(t, l)
	change(98, l.newest)
	if current, err := l.Check(t.Context()); err != nil || !current {
		t.Errorf("a look says %t, %v", current, err)
	}
	if err := claimed(t, l, "worker", long).Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
		t.Fatal(err)
	}
	change(99, l.newest+1)
	for i := range 2 { // with nothing to claim, and with something
		_, err := l.Claim(t.Context(), "worker", long)
		testenv.CheckMessage(t, err, "claim a run: schema etl_ledger of ETL_STATE_DB_URL is of version 99 and can be used by programs that know version",
			fmt.Sprintf("%d or later; this one knows %d: run the newer program", l.newest+1, l.newest))
		if i == 0 {
			submitted(t, l)
		}
	}
	newer := open(t, l.pool.Config().ConnString(), "products")
	newer.newest = 99
	claimed(t, newer, "the newer program", long)
}

// Each migration states which programs can use the schema behind it.
func TestEachMigrationStatesItsCompatibility(t *testing.T) {
	t.Parallel()
	all, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	l := fresh(t)
	for _, m := range all {
		if n := count(t, l, fmt.Sprintf("%s WHERE version = %d", compatibilityTable, m.version)); n != 1 {
			t.Errorf("version %d states it %d times", m.version, n)
		}
	}
	if n := count(t, l, compatibilityTable); n != len(all) {
		t.Errorf("%d versions state it", n)
	}
}

func TestMigrateWithoutTheRight(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]struct {
		sql    string
		rights []string
	}{
		"no schema":                  {"SELECT 1", nil},
		"an empty schema of another": {"CREATE SCHEMA etl_ledger", []string{"USAGE ON SCHEMA etl_ledger"}},
		"a schema of another that is not complete": {"CREATE SCHEMA etl_ledger; CREATE TABLE etl_ledger.goose_db_version (version_id bigint, is_applied boolean)",
			[]string{"USAGE ON SCHEMA etl_ledger", "SELECT ON etl_ledger.goose_db_version"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := testenv.Cart(t)
			db.Exec(prepare.sql)
			l := open(t, db.Role(prepare.rights...), "products")
			err := l.Migrate(t.Context())
			testenv.CheckMessage(t, err, "etl migrate --print-sql", "USAGE on schema etl_ledger", "SELECT, INSERT, UPDATE, DELETE", l.role(), db.Name)
			if current, checked := l.Check(t.Context()); current || checked == nil || checked.Error() != err.Error() {
				t.Errorf("a look beforehand says %v, %v; it is %v", current, checked, err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %s", err)
			}
		})
	}
}

func TestMigrateWithoutTheGrants(t *testing.T) {
	t.Parallel()
	db := testenv.Cart(t)
	if err := open(t, db.URL, "products").Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := open(t, db.Role(), "products")
	testenv.CheckMessage(t, l.Migrate(t.Context()), "permission denied", "etl migrate --print-sql", l.role())
}

func TestNotMigrated(t *testing.T) {
	t.Parallel()
	l := open(t, testenv.Cart(t).URL, "products")
	_, err := l.Submit(t.Context(), wanting(t))
	testenv.CheckMessage(t, err, "does not exist", "run `etl migrate`")
	if current, err := l.Check(t.Context()); current || err != nil {
		t.Errorf("a look says %v, %v", current, err)
	}
	if current, err := fresh(t).Check(t.Context()); !current || err != nil {
		t.Errorf("a look at a schema that is there says %v, %v", current, err)
	}
}

// scripted is a database that a DBA made by the script, and the URL of a role that
// has what its comments grant.
func scripted(t *testing.T) (db *testenv.CartDB, role string) {
	t.Helper()
	db = testenv.Cart(t)
	script, err := Script()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), db.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	for range 2 { // the second time there is nothing to do
		if _, err := conn.PgConn().Exec(t.Context(), script).ReadAll(); err != nil {
			t.Fatal(err)
		}
	}
	var rights []string
	for line := range strings.Lines(script) {
		if right, ok := strings.CutPrefix(line, "--   GRANT "); ok {
			right, _, _ = strings.Cut(right, " TO ")
			rights = append(rights, right)
		}
	}
	if len(rights) != 4 {
		t.Fatalf("the script grants %q", rights)
	}
	return db, db.Role(rights...)
}

func TestScriptMakesWhatMigrateMakes(t *testing.T) {
	t.Parallel()
	db, _ := scripted(t)
	byScript, byMigrate := open(t, db.URL, "products"), fresh(t)
	for name, query := range map[string]string{
		"columns": `SELECT format('%s.%s %s %s %s %s', table_name, column_name, data_type, is_nullable, column_default, collation_name)
			FROM information_schema.columns WHERE table_schema = 'etl_ledger' ORDER BY table_name, ordinal_position`,
		"indexes":     `SELECT indexdef FROM pg_indexes WHERE schemaname = 'etl_ledger' ORDER BY 1`,
		"constraints": `SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'etl_ledger'::regnamespace ORDER BY 1`,
		"comments":    `SELECT relname || ' ' || obj_description(oid) FROM pg_class WHERE relnamespace = 'etl_ledger'::regnamespace AND relkind = 'r' ORDER BY 1`,
		"versions":    `SELECT format('%s %s %s', id, version_id, is_applied) FROM etl_ledger.goose_db_version ORDER BY id`,
	} {
		var made [2][]string
		for i, l := range []*Ledger{byScript, byMigrate} {
			rows, err := l.pool.Query(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			if made[i], err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s string, err error) {
				var text *string
				if err = row.Scan(&text); text != nil {
					s = *text
				}
				return s, err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if len(made[1]) == 0 || !slices.Equal(made[0], made[1]) {
			t.Errorf("%s: the script makes\n%s\nMigrate makes\n%s", name, strings.Join(made[0], "\n"), strings.Join(made[1], "\n"))
		}
	}
}

// The service's role can do everything with what the script grants, and create
// nothing.
func TestRestrictedRole(t *testing.T) {
	t.Parallel()
	db, role := scripted(t)
	db.Exec("REVOKE ALL ON DATABASE " + db.Name + " FROM PUBLIC")
	db.Exec("GRANT CONNECT ON DATABASE " + db.Name + " TO PUBLIC")
	l := open(t, role, "products")
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.pool.Exec(t.Context(), "CREATE TABLE etl_ledger.mine ()"); err == nil {
		t.Error("the role may create tables")
	}
	first := submitted(t, l)
	if _, err := l.Accept(t.Context(), wanting(t)); err != nil {
		t.Error(err)
	}
	if err := l.Discard(t.Context(), first.ID); err != nil {
		t.Error(err)
	}
	record := submitted(t, l)
	lease := claimed(t, l, "worker", gone)
	if _, err := lease.Beat(t.Context(), run.StatusRunning, run.Progress{}); err != nil {
		t.Error(err)
	}
	if err := lease.Plan(t.Context(), []product.Range{{Class: product.Strings}}); err != nil {
		t.Error(err)
	}
	inHand(t, lease, "a", "b")
	settle(t, lease, run.Settlement{Restart: true, Look: &run.Look{At: time.Now(), Products: 5}, Outcomes: outcomesOf(run.Lost, "a"), Finished: []run.FinishedRange{{Range: product.Range{Class: product.Strings}}}})
	if at := resumed(t, lease); at == nil || len(at.InHand) != 1 || len(at.Ranges) != 0 {
		t.Errorf("it resumes at %+v", at)
	}
	if judged, err := lease.Judged(t.Context(), []product.ID{"a"}); err != nil || len(judged) != 1 {
		t.Errorf("judged are %v, %v", judged, err)
	}
	if ids, _, err := l.Findings(t.Context(), record.ID, product.Kinds()); err != nil || len(ids) != 1 {
		t.Errorf("found %v, %v", ids, err)
	}
	if known, err := lease.Known(t.Context(), []product.ID{"a"}); err != nil || len(known) != 1 {
		t.Errorf("known are %v, %v", known, err)
	}
	if open, err := lease.Open(t.Context(), run.Key{}, 9); err != nil || len(open) != 1 {
		t.Errorf("open are %v, %v", open, err)
	}
	if err := lease.Measured(t.Context(), time.Second); err != nil {
		t.Error(err)
	}
	if gap, err := lease.Gap(t.Context()); err != nil || gap != time.Second {
		t.Errorf("the gap is %s, %v", gap, err)
	}
	if last, err := lease.LastLook(t.Context()); err != nil || last.Products != 5 {
		t.Errorf("the last look is %+v, %v", last, err)
	}
	if past, err := l.History(t.Context(), "a", 9); err != nil || len(past) != 1 {
		t.Errorf("the history is %v, %v", past, err)
	}
	if err := lease.HandBack(t.Context(), "", 0); err != nil {
		t.Error(err)
	}
	if err := claimed(t, l, "next", long).Finish(t.Context(), run.StatusPartial, &run.Report{}, ""); err != nil {
		t.Error(err)
	}
	begun(t, l, gone)
	last := begun(t, l, long).Record()
	if _, err := l.Ask(t.Context(), last.ID, run.WantPause, run.Actor{}); err != nil {
		t.Error(err)
	}
	if page, err := l.Runs(t.Context(), run.Filter{}); err != nil || len(page.Runs) != 4 {
		t.Errorf("the runs are %v, %v", page, err)
	}
	if got := outcomes(t, l, record.ID, run.OutcomeFilter{}); len(got) != 2 { // one was in hand
		t.Errorf("the outcomes are %v", got)
	}
	if _, err := l.SetSwitch(t.Context(), false, run.Actor{Name: "ada"}); err != nil {
		t.Error(err)
	}
	if s, err := l.Switch(t.Context()); err != nil || s.On {
		t.Errorf("the switch is %+v, %v", s, err)
	}
	if err := l.SaveHealth(t.Context(), run.HealthRecord{}); err != nil {
		t.Error(err)
	}
	if h, err := l.LastHealth(t.Context()); err != nil || h == nil {
		t.Errorf("the health is %+v, %v", h, err)
	}
	db.Exec("UPDATE etl_ledger.run SET finished_at = now() - interval '1 day' WHERE finished_at IS NOT NULL")
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := l.Forget(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	if n := count(t, l, "etl_ledger.run"); n != 1 {
		t.Errorf("%d runs are left", n)
	}
	db.Exec("REVOKE INSERT ON etl_ledger.switch FROM " + l.role())
	_, err := l.SetSwitch(t.Context(), true, run.Actor{Name: "ada"})
	testenv.CheckMessage(t, err, "permission denied", "grant "+l.role())
}
