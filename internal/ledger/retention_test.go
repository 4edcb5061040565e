package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// forget lets the ledger remove what is old.
func forget(tb testing.TB, l *Ledger) {
	tb.Helper()
	if _, err := l.Forget(tb.Context(), 10*time.Minute); err != nil {
		tb.Fatal(err)
	}
}

func TestForgetRemovesWhatIsOld(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	other := open(t, l.pool.Config().ConnString(), "another")
	lease := begun(t, l, long)
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Lost, "a", "b"), Look: &run.Look{At: time.Now().Add(-2 * time.Hour)}})
	if err := lease.Finish(t.Context(), run.StatusPartial, nil, ""); err != nil {
		t.Fatal(err)
	}
	copies(t, l, lease.Record().ID, 2*forgottenRuns+3, 0)
	elsewhere := finished(t, other, run.StatusFailed)
	for _, at := range []time.Time{time.Now().Add(-2 * time.Hour), time.Now()} {
		if err := l.SaveHealth(t.Context(), run.HealthRecord{At: at}); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, l, "UPDATE "+runTable+" SET finished_at = now() - interval '61 minutes'")
	kept := finished(t, l, run.StatusCancelled)
	active := begun(t, l, long, func(r *run.Request) { r.At = time.Now().Add(-24 * time.Hour) })
	settle(t, active, run.Settlement{Look: &run.Look{At: time.Now()}})
	forget(t, l)
	page, err := l.Runs(t.Context(), run.Filter{})
	if err != nil || len(page.Runs) != 2 {
		t.Fatalf("%d runs are left, %v", len(page.Runs), err)
	}
	found(t, l, kept.ID)
	found(t, l, active.Record().ID)
	found(t, other, elsewhere.ID)
	for from, want := range map[string]int{outcomeTable: 0, healthTable: 1, lookTable: 1, differenceTable: 2} {
		if n := count(t, l, from); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, from, want)
		}
	}
}

// Closed differences go in batches, and what is open, or was closed lately, stays.
func TestForgetRemovesClosedDifferences(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	other := open(t, l.pool.Config().ConnString(), "another")
	settle(t, begun(t, other, long), run.Settlement{Outcomes: outcomesOf(run.Found, "elsewhere")})
	lease := begun(t, l, long)
	ids := make([]product.ID, 2*forgottenRows+3)
	for i := range ids {
		ids[i] = product.ID(fmt.Sprintf("product %d", i))
	}
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Found, append(ids, "open", "late")...)})
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Gone, ids...)})
	execute(t, l, "UPDATE "+differenceTable+" SET opened_at = opened_at - interval '1 day', closed_at = closed_at - interval '61 minutes'")
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Gone, "late")})
	forget(t, l)
	if n := count(t, l, differenceTable+" WHERE product IN ('open', 'late', 'elsewhere')"); n != 3 || count(t, l, differenceTable) != 3 {
		t.Errorf("%d differences are left, %d of them are to stay", count(t, l, differenceTable), n)
	}
	if n := count(t, l, pipelineTable+" WHERE open = 1"); n != 2 {
		t.Error("the open ones are not counted right")
	}
}

// What is too much goes, the oldest first, however young it is; the latest run stays
// even where it is too much alone.
func TestForgetKeepsToItsRows(t *testing.T) {
	t.Parallel()
	l := fresh(t)
	lease := begun(t, l, long)
	settle(t, lease, run.Settlement{Outcomes: outcomesOf(run.Found, "a", "b", "c", "open")})
	settle(t, lease, run.Settlement{Outcomes: append(outcomesOf(run.Gone, "a", "b", "c"), outcomesOf(run.Lost, "open")...)})
	if err := lease.Finish(t.Context(), run.StatusPartial, nil, ""); err != nil {
		t.Fatal(err)
	}
	execute(t, l, "DELETE FROM "+outcomeTable)
	copies(t, l, lease.Record().ID, 3, 3)
	// Oldest first: c, a copy of 4 rows, b, the next copy, a, the next copy, and the run.
	execute(t, l, "UPDATE "+runTable+" SET finished_at = now() - interval '1 minute', kept = 0 WHERE id = $1", lease.Record().ID)
	execute(t, l, `UPDATE `+runTable+` r SET finished_at = now() - n * interval '4 minutes' FROM (
		SELECT id, row_number() OVER (ORDER BY id) AS n FROM `+runTable+` WHERE id <> $1) AS o WHERE r.id = o.id`, lease.Record().ID)
	execute(t, l, `UPDATE `+differenceTable+` SET opened_at = now() - interval '1 day', closed_at = now() - interval '1 minute' * CASE product WHEN 'c' THEN 14 WHEN 'b' THEN 10 ELSE 6 END
		WHERE closed_at IS NOT NULL`)
	for _, step := range []struct{ rows, runs, outcomes, closed int }{
		{16, 4, 9, 3}, {15, 4, 9, 2}, {14, 3, 6, 2}, {11, 3, 6, 2}, {10, 3, 6, 1}, {6, 2, 3, 1}, {1, 1, 0, 0}, {0, 1, 0, 0},
	} {
		l.maxRows = int64(step.rows)
		forget(t, l)
		runs, outcomes, closed := count(t, l, runTable), count(t, l, outcomeTable), count(t, l, differenceTable+" WHERE closed_at IS NOT NULL")
		if runs != step.runs || outcomes != step.outcomes || closed != step.closed {
			t.Errorf("of at most %d rows, %d runs, %d outcomes and %d closed differences are left, want %+v", step.rows, runs, outcomes, closed, step)
		}
	}
	if n := count(t, l, differenceTable+" WHERE closed_at IS NULL"); n != 1 {
		t.Errorf("%d differences are open", n)
	}
}

// copies makes n finished runs like the given one, with so many outcomes each.
func copies(tb testing.TB, l *Ledger, id string, n, outcomes int) {
	tb.Helper()
	execute(tb, l, `
WITH copy AS (
	INSERT INTO `+runTable+` (id, pipeline, slot, status, request, trigger, mode, dry_run, whole, requested_at, started_at, finished_at, kept)
	SELECT gen_random_uuid(), pipeline, slot, status, request, trigger, mode, dry_run, whole, requested_at, started_at, now(), $3
	FROM `+runTable+`, generate_series(1, $2::integer) WHERE id = $1 RETURNING id)
INSERT INTO `+outcomeTable+` (run, product, kind, state, column_name, reason, attempts)
SELECT id, 'product ' || n, 'missing', 'lost', '', '{}', 1 FROM copy, generate_series(1, $3::integer) AS n`, parseID(id), n, outcomes)
}

// aged is a ledger of runs with outcomes in all, which ended two hours ago and so are
// too old, and of one that ended just now.
func aged(tb testing.TB, outcomes int) (l *Ledger, last run.Record) {
	tb.Helper()
	l = fresh(tb)
	first := finished(tb, l, run.StatusPartial)
	for left := outcomes; left > 0; left -= run.MaxOutcomes { // what one run keeps
		copies(tb, l, first.ID, 1, min(left, run.MaxOutcomes))
	}
	execute(tb, l, "UPDATE "+runTable+" SET finished_at = now() - interval '2 hours'")
	return l, finished(tb, l, run.StatusSucceeded)
}

func TestNobodyWaitsForRetention(t *testing.T) {
	t.Parallel()
	nobodyWaitsForRetention(t, 100_000)
}

// TestLongRetention is TestNobodyWaitsForRetention with as many outcomes as a ledger
// keeps by default.
func TestLongRetention(t *testing.T) {
	testenv.Long(t)
	nobodyWaitsForRetention(t, 5_000_000)
}

// While what became too old by a lowered ETL_RETENTION is removed, runs are entered,
// found, claimed and ended as ever.
func nobodyWaitsForRetention(t *testing.T, outcomes int) {
	t.Helper()
	l, last := aged(t, outcomes)
	ended := make(chan error, 1)
	begun := time.Now()
	go func() {
		_, err := l.Forget(context.WithoutCancel(t.Context()), 10*time.Minute)
		ended <- err
	}()
	const ledgerTimeout = 10 * time.Second // of package consumer
	var longest time.Duration
	rounds := 0
	for removing := true; removing; rounds++ {
		record := submitted(t, l)
		at := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), ledgerTimeout)
		waits, err := l.Sweep(ctx)
		if err != nil || !waits {
			t.Fatalf("a run that waits is not found: %t, %v", waits, err)
		}
		lease, err := l.Claim(ctx, "worker", long)
		cancel()
		if err != nil || lease == nil || lease.Record().ID != record.ID {
			t.Fatalf("claimed %v after %s, %v", lease, time.Since(at), err)
		}
		longest = max(longest, time.Since(at))
		if err := lease.Finish(t.Context(), run.StatusSucceeded, nil, ""); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
			removing = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Logf("%d outcomes were removed in %s; meanwhile %d runs were found and claimed within %s", outcomes, time.Since(begun), rounds, longest)
	found(t, l, last.ID)
	if n := count(t, l, outcomeTable); n > 0 || count(t, l, runTable) != rounds+1 {
		t.Errorf("%d outcomes of %d runs are left", n, count(t, l, runTable))
	}
}

// Whatever holds retention up holds up nobody else, and it goes on afterwards.
func TestRetentionThatIsHeldUp(t *testing.T) {
	t.Parallel()
	l, _ := aged(t, 10)
	tx, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "LOCK TABLE "+outcomeTable+" IN EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := l.Forget(ctx, time.Minute); err == nil {
		t.Error("removed what is locked")
	}
	record := submitted(t, l)
	if waits, err := l.Sweep(t.Context()); err != nil || !waits {
		t.Errorf("a run that waits is not found: %t, %v", waits, err)
	}
	if lease := claimed(t, l, "worker", long); lease.Record().ID != record.ID {
		t.Errorf("claimed %+v", lease.Record())
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The server learns that the first caller has gone when it answers it, and until then the runs
	// are that one's: they are left to the next round.
	testenv.Eventually(t, time.Minute, func() bool { forget(t, l); return count(t, l, outcomeTable) == 0 }, "the outcomes to be removed")
}

// What is looked for again and again is found by indexes, however much is there.
func TestRetentionAndClaimsUseIndexes(t *testing.T) {
	t.Parallel()
	l, _ := aged(t, 40_000)
	copies(t, l, found(t, l, firstRun(t, l)).ID, 20_000, 0)
	lease := begun(t, l, long)
	for _, state := range []run.State{run.Found, run.Gone} {
		ids := make([]product.ID, 20_000)
		for i := range ids {
			ids[i] = product.ID(fmt.Sprintf("product %d", i))
		}
		settle(t, lease, run.Settlement{Outcomes: outcomesOf(state, ids...)})
	}
	execute(t, l, "UPDATE "+differenceTable+" SET opened_at = now() - interval '2 hours', closed_at = now() - interval '2 hours' WHERE product LIKE '%9'")
	execute(t, l, "ANALYZE "+runTable+", "+outcomeTable+", "+differenceTable)
	args := pgx.NamedArgs{"pipeline": l.pipeline, "horizon": time.Now().Add(-time.Hour), "runs": forgottenRuns, "rows": forgottenRows,
		"old": []pgtype.UUID{parseID(firstRun(t, l))}, "owner": "worker", "lease": long, "newest": l.newest}
	for name, sql := range map[string]string{
		"old runs": finishedBefore, "outcomes": removeOutcomes, "runs": removeRuns, "closed differences": closedBefore,
		"claim": claimRun, "look": anyClaimable, "expired": skipExpired,
	} {
		plan, err := collect(t.Context(), l.pool, pgx.RowTo[string], "EXPLAIN "+sql, args)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if slices.ContainsFunc(plan, func(line string) bool { return strings.Contains(line, "Seq Scan") }) {
			t.Errorf("%s are read one by one:\n%s", name, strings.Join(plan, "\n"))
		}
	}
}

func firstRun(t *testing.T, l *Ledger) (id string) {
	t.Helper()
	err := l.pool.QueryRow(t.Context(), "SELECT id::text FROM "+runTable+" WHERE kept > 0 ORDER BY finished_at LIMIT 1").Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
