package repairertest

import (
	"context"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
)

// breaking is what is known of repairs whose connection fails.
var breaking = map[string]func(*testing.T, Fixture){
	"a connection that breaks": testBreak,
	"a silence that lasts":     testFreeze,
}

// truthful checks that what is called done is, and that what is called untried is not.
func truthful(t *testing.T, f Fixture, kind product.Kind, repairs []product.Repair, results []product.Result) {
	t.Helper()
	if len(results) != len(repairs) {
		t.Fatalf("%s: %d results of %d repairs", kind, len(results), len(repairs))
	}
	rows := f.Rows()
	for i, result := range results {
		is := done(kind, rows, &repairs[i])
		if result.ID != repairs[i].Row.ID || result.Err != nil || result.Fate == product.Nacked ||
			result.Fate == product.Confirmed && !is || result.Fate == product.Untried && is {
			t.Errorf("%s: %+v, and it is done: %t", kind, result, is)
		}
	}
}

// One breaks at any moment. Whatever is known then is true, and in the end all is done.
func testBreak(t *testing.T, f Fixture) {
	const batch = 40
	for _, kind := range product.Kinds() {
		repairs := differing(f, kind, ids(string(kind), 8*batch)...)
		var results []product.Result
		for n := 0; n < len(repairs); n += batch {
			if _, err := f.Reserve(t.Context(), kind, batch, seen); err != nil {
				t.Fatal(err)
			}
			breaks := time.AfterFunc(time.Duration(n/batch)*2*time.Millisecond, f.Break)
			got, err := f.Repair(t.Context(), kind, 1, repairs[n:n+batch])
			if breaks.Stop(); err != nil {
				t.Logf("%s: %v", kind, err) // the run would end
			}
			results = append(results, got...)
		}
		truthful(t, f, kind, repairs, results)
		confirmed(t, kind, repairs, repaired(t, f, kind, 2, repairs))
		effective(t, f, kind, repairs)
	}
}

// Nothing is confirmed by a connection on which nothing comes, and who waits for it can
// be stopped.
func testFreeze(t *testing.T, f Fixture) {
	for _, kind := range product.Kinds() {
		repairs := differing(f, kind, ids(string(kind), 5)...)
		if _, err := f.Reserve(t.Context(), kind, len(repairs), seen); err != nil {
			t.Fatal(err)
		}
		thaw := f.Freeze()
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		begun := time.Now()
		results, _ := f.Repair(ctx, kind, 1, repairs)
		if took := time.Since(begun); took > 20*time.Second {
			t.Errorf("%s: it took %s", kind, took)
		}
		stop()
		thaw()
		for _, r := range results {
			if r.Fate == product.Confirmed {
				t.Errorf("%s: %+v", kind, r)
			}
		}
		truthful(t, f, kind, repairs, results)
		confirmed(t, kind, repairs, repaired(t, f, kind, 2, repairs))
		effective(t, f, kind, repairs)
	}
}
