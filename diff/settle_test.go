package diff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

const settle = 30 * time.Second

// barrierFunc makes a function a Barriers.
type barrierFunc func(ctx context.Context, kind product.Kind, t time.Time) error

func (f barrierFunc) Wait(ctx context.Context, kind product.Kind, t time.Time) error {
	return f(ctx, kind, t)
}

// differing is a store with one product that differs as kind says, made or
// changed at stamp.
func differing(kind product.Kind, id product.ID, stamp time.Time) *stores {
	s := newStores(orders()[0])
	s.differ(kind, id, stamp)
	return s
}

func (s *stores) differ(kind product.Kind, id product.ID, stamp time.Time) {
	p, row := newProduct(product.Strings, id), newRow(id)
	p.Created, p.Updated = time.Time{}, time.Time{}
	switch kind {
	case product.Missing:
		p.Created = stamp
		s.products = append(s.products, p)
	case product.Stale:
		p.Updated = stamp
		row.Values[product.Title] = product.TextValue("Old lamp")
		s.products, s.rows = append(s.products, p), append(s.rows, row)
	case product.Orphaned:
		s.rows = append(s.rows, row)
	}
}

// lookedAt notes when the first look by id begins.
func (s *stores) lookedAt() *time.Time {
	var at time.Time
	s.onRead = func(_ context.Context, r read) error {
		if r == sourceFindRead && at.IsZero() {
			at = time.Now()
		}
		return nil
	}
	return &at
}

func (s *stores) engine(barrier diff.Barriers) *diff.Engine {
	return diff.New(source{s}, target{s}, barrier, diff.Config{Compare: compared, Settle: settle, Window: 100, Batch: 3})
}

func TestASuspectSettlesBeforeItIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		age  func(now time.Time) time.Time
		want time.Duration // from first sight to the second look
	}{
		{"made now", func(now time.Time) time.Time { return now }, settle},
		{"made ten seconds ago", func(now time.Time) time.Time { return now.Add(-10 * time.Second) }, 20 * time.Second},
		{"made just as long ago", func(now time.Time) time.Time { return now.Add(-settle) }, 0},
		{"made long ago", func(now time.Time) time.Time { return now.AddDate(-5, 0, 0) }, 0},
		{"made before all calendars", func(time.Time) time.Time { return time.UnixMilli(-1 << 62) }, 0},
		{"time absent", func(time.Time) time.Time { return time.Time{} }, settle},
		{"made a moment in the future", func(now time.Time) time.Time { return now.Add(time.Millisecond) }, settle},
		{"made in the future", func(now time.Time) time.Time { return now.Add(time.Hour) }, settle},
		{"made in the far future", func(time.Time) time.Time { return time.UnixMilli(1 << 62) }, settle},
	}
	for _, test := range tests {
		for _, kind := range product.Kinds() {
			want := test.want
			if kind == product.Orphaned {
				want = settle // nothing tells when it was deleted
			}
			t.Run(string(kind)+", "+test.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					begun := time.Now()
					stamp := test.age(begun)
					s := differing(kind, "p", stamp)
					at := s.lookedAt()
					suspect := diff.Suspect{ID: "p", Kind: kind, FirstSeen: begun}
					if kind != product.Orphaned {
						suspect.Stamp = stamp
					}
					verdict, err := s.engine(nil).Confirm(t.Context(), []diff.Suspect{suspect})
					if err != nil || len(verdict.Confirmed) != 1 {
						t.Fatalf("verdict %+v, %v", verdict, err)
					}
					if waited := at.Sub(begun); waited != want {
						t.Errorf("looked again %s after first sight, want %s", waited, want)
					}
				})
			})
		}
	}
}

// The scan and the waits of earlier windows count as settling time.
func TestSettlingRunsFromFirstSight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := differing(product.Missing, "p", time.Time{})
		at := s.lookedAt()
		seen := time.Now()
		time.Sleep(25 * time.Second)
		if _, err := s.engine(nil).Confirm(t.Context(), []diff.Suspect{{ID: "p", Kind: product.Missing, FirstSeen: seen}}); err != nil {
			t.Fatal(err)
		}
		if waited := at.Sub(seen); waited != settle {
			t.Errorf("looked again %s after first sight, want %s", waited, settle)
		}
	})
}

// A scan gives a suspect the time that its kind settles from.
func TestAScanStampsItsSuspects(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		created, updated := time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)
		s := newStores(orders()[0])
		for _, kind := range product.Kinds() {
			s.differ(kind, product.ID(kind), time.Time{})
		}
		for i := range s.products {
			s.products[i].Created, s.products[i].Updated = created, updated
		}
		want := map[product.Kind]time.Time{product.Missing: created, product.Stale: updated, product.Orphaned: {}}
		for name, scope := range map[string]diff.Scope{
			"of ranges": {Ranges: []product.Range{{Class: product.Strings}}},
			"by id":     {IDs: []product.ID{"missing", "stale", "orphaned"}},
		} {
			windows := make(chan diff.Window, 1)
			if err := s.engine(nil).Scan(t.Context(), scope, windows); err != nil {
				t.Fatal(err)
			}
			suspects := (<-windows).Suspects
			if len(suspects) != len(want) {
				t.Fatalf("a scan %s finds %v", name, suspects)
			}
			for _, found := range suspects {
				if found.ID != product.ID(found.Kind) || !found.Stamp.Equal(want[found.Kind]) || !found.FirstSeen.Equal(time.Now()) {
					t.Errorf("a scan %s finds %+v, want the stamp %s and the present as first sight", name, found, want[found.Kind])
				}
			}
		}
	})
}

// Whatever the stamps of a window are: no suspect is looked at before it was seen,
// nor before its product had its settling time, nor is the window held for longer
// than Settle after the last first sight; and the barrier covers the whole of it.
func TestSettlingProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, checkSettling) })
}

var ages = []time.Duration{0, 1, time.Second, settle / 2, settle - 1, settle, settle + 1, settle + settle/2, 2 * settle, 5000 * time.Hour}

func checkSettling(t *rapid.T) {
	s := newStores(orders()[0])
	begun := time.Now()
	var window []diff.Suspect
	var last time.Time // first sight
	least := make(map[product.Kind]time.Time)
	for i := range rapid.IntRange(1, 6).Draw(t, "suspects") {
		suspect := diff.Suspect{ID: product.ID(rune('a' + i)), Kind: rapid.SampledFrom(product.Kinds()).Draw(t, "kind")}
		suspect.FirstSeen = begun.Add(-rapid.SampledFrom(ages).Draw(t, "seen ago"))
		if suspect.Kind != product.Orphaned && rapid.Bool().Draw(t, "stamped") {
			suspect.Stamp = suspect.FirstSeen.Add(rapid.SampledFrom([]time.Duration{-1, -1, 1}).Draw(t, "before or after it") * rapid.SampledFrom(ages).Draw(t, "made ago"))
		}
		s.differ(suspect.Kind, suspect.ID, suspect.Stamp)
		window = append(window, suspect)
		last = later(last, suspect.FirstSeen)
		settled := suspect.FirstSeen
		if suspect.Stamp.IsZero() {
			settled = suspect.FirstSeen.Add(settle)
		} else if !suspect.Stamp.After(suspect.FirstSeen) {
			settled = later(settled, suspect.Stamp.Add(settle))
		}
		least[suspect.Kind] = later(least[suspect.Kind], settled)
	}
	at := s.lookedAt()
	waited := make(map[product.Kind]bool)
	barrier := barrierFunc(func(_ context.Context, kind product.Kind, moment time.Time) error {
		waited[kind] = true
		if moment.Before(least[kind]) || moment.After(last.Add(settle)) || time.Now().Before(moment) {
			t.Errorf("the barrier of %s covers what was queued at %s, want %s or later", kind, moment, least[kind])
		}
		return nil
	})
	verdict, err := s.engine(barrier).Confirm(t.Context(), window)
	if err != nil || len(verdict.Confirmed) != len(window) {
		t.Fatalf("verdict %+v, %v", verdict, err)
	}
	for kind, moment := range least {
		if at.Before(moment) || !waited[kind] {
			t.Errorf("looked at %s, before %s had settled at %s (waited for its queue: %v)", at, kind, moment, waited[kind])
		}
	}
	if latest := later(begun, last.Add(settle)); at.After(latest) {
		t.Errorf("looked at %s, and all had settled by %s", at, latest)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestSleepUntil(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopped by a person")
	tests := []struct {
		name        string
		until, stop time.Duration
		took        time.Duration
		want        error
	}{
		{"a moment to come", time.Minute, time.Hour, time.Minute, nil},
		{"the present", 0, time.Hour, 0, nil},
		{"the past", -time.Minute, time.Hour, 0, nil},
		{"stopped before", time.Minute, time.Second, time.Second, cause},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				time.AfterFunc(test.stop, func() { stop(cause) })
				begun := time.Now()
				if err := diff.SleepUntil(ctx, begun.Add(test.until)); !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if took := time.Since(begun); took != test.took {
					t.Errorf("took %s, want %s", took, test.took)
				}
			})
		})
	}
}
