package diff_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/diff"
	"github.com/ecom-micro/etl/internal/product"
)

// atLook calls change before the nth look at the source, counted from 1.
func (s *stores) atLook(change func(look int)) {
	look := 0
	s.onRead = func(_ context.Context, r read) error {
		if r == sourceFindRead {
			look++
			change(look)
		}
		return nil
	}
}

func (s *stores) setTitle(title string) {
	s.products[0].Values[product.Title] = product.TextValue(title)
	s.products[0].Updated = time.Now()
}

func TestASuspectThatChangesMeanwhile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		kind   product.Kind
		change func(s *stores, look int)
		want   diff.Verdict
		looks  int // 1 if it is 0
		took   time.Duration
	}{
		{
			name: "nothing changes", kind: product.Missing,
			change: func(*stores, int) {},
			want:   diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Missing}}},
		},
		{
			name: "its row arrives", kind: product.Missing,
			change: func(s *stores, _ int) { s.rows = []product.Row{newRow("p")} },
			want:   diff.Verdict{Resolved: 1},
		},
		{
			name: "its document is deleted", kind: product.Missing,
			change: func(s *stores, _ int) { s.products = nil },
			want:   diff.Verdict{Resolved: 1},
		},
		{
			name: "its update arrives", kind: product.Stale,
			change: func(s *stores, _ int) { s.rows[0].Values[product.Title] = product.TextValue("Lamp") },
			want:   diff.Verdict{Resolved: 1},
		},
		{
			name: "an orphan's row is deleted", kind: product.Orphaned,
			change: func(s *stores, _ int) { s.rows = nil },
			want:   diff.Verdict{Resolved: 1},
		},
		{
			name: "an orphan's document comes back", kind: product.Orphaned,
			change: func(s *stores, _ int) { s.products = []product.Product{newProduct(product.Strings, "p")} },
			want:   diff.Verdict{Resolved: 1},
		},
		{
			name: "a row arrives that is already out of date", kind: product.Missing,
			change: func(s *stores, look int) {
				if look == 1 {
					s.rows = []product.Row{newRow("p")}
					s.setTitle("New lamp")
				}
			},
			want: diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Stale, Fields: []diff.FieldDifference{
				{Field: product.Title, Source: product.TextValue("New lamp"), Cart: product.TextValue("Lamp")},
			}}}},
			looks: 2, took: settle, // from its update
		},
		{
			name: "a stale product is deleted in the source", kind: product.Stale,
			change: func(s *stores, _ int) { s.products = nil },
			want:   diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Orphaned}}},
			looks:  2, took: settle,
		},
		{
			name: "a stale product's row is deleted", kind: product.Stale,
			change: func(s *stores, _ int) { s.rows = nil },
			want:   diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Missing}}},
			looks:  2, took: settle, // nothing tells when it was made
		},
		{
			name: "a stale product changes once more", kind: product.Stale,
			change: func(s *stores, look int) {
				if look == 1 {
					s.setTitle("Newer lamp")
				}
			},
			want: diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Stale, Fields: []diff.FieldDifference{
				{Field: product.Title, Source: product.TextValue("Newer lamp"), Cart: product.TextValue("Old lamp")},
			}}}},
			looks: 2, took: settle,
		},
		{
			name: "a missing product is updated, which does not matter", kind: product.Missing,
			change: func(s *stores, _ int) { s.setTitle("New lamp") },
			want:   diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Missing}}},
		},
		{
			name: "a missing product is deleted and made again", kind: product.Missing,
			change: func(s *stores, look int) {
				if look == 1 {
					s.products[0].Created = time.Now()
				}
			},
			want:  diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Missing}}},
			looks: 2, took: settle,
		},
		{
			name: "the same time in another time zone is no change", kind: product.Missing,
			change: func(s *stores, _ int) {
				s.products[0].Created = s.products[0].Created.In(time.FixedZone("", 3600))
			},
			want: diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Missing}}},
		},
		{
			name: "a product that changes twice is still decided", kind: product.Stale,
			change: func(s *stores, look int) {
				if look < 3 {
					s.setTitle(fmt.Sprint("Lamp ", look))
				}
			},
			want: diff.Verdict{Confirmed: []diff.Difference{{ID: "p", Kind: product.Stale, Fields: []diff.FieldDifference{
				{Field: product.Title, Source: product.TextValue("Lamp 2"), Cart: product.TextValue("Old lamp")},
			}}}},
			looks: 3, took: 2 * settle,
		},
	}
	for _, test := range tests {
		t.Run(string(test.kind)+", "+test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				stamp := begun.Add(-time.Hour)
				s := differing(test.kind, "p", stamp)
				suspect := diff.Suspect{ID: "p", Kind: test.kind, FirstSeen: begun.Add(-time.Hour / 2), Stamp: stamp}
				if test.kind == product.Orphaned {
					suspect.Stamp = time.Time{}
				}
				looks := 0
				s.atLook(func(look int) {
					looks = look
					test.change(s, look)
				})
				verdict, err := s.engine(nil).Confirm(t.Context(), []diff.Suspect{suspect})
				if err != nil {
					t.Fatal(err)
				}
				if want := max(test.looks, 1); looks != want {
					t.Errorf("%d looks, want %d", looks, want)
				}
				if !reflect.DeepEqual(verdict, test.want) {
					t.Errorf("verdict %+v, want %+v", verdict, test.want)
				}
				if took := time.Since(begun); took != test.took {
					t.Errorf("took %s, want %s", took, test.took)
				}
			})
		})
	}
}

// A product that has become another kind of difference waits for another queue,
// also where its document did not change.
func TestAnotherKindWaitsForItsOwnQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		made := time.Now().Add(-time.Hour)
		s := differing(product.Missing, "p", made)
		s.products[0].Updated = made
		s.atLook(func(int) {
			row := newRow("p")
			row.Values[product.Title] = product.TextValue("Old lamp")
			s.rows = []product.Row{row}
		})
		var waited []product.Kind
		barrier := barrierFunc(func(_ context.Context, kind product.Kind, _ time.Time) error {
			waited = append(waited, kind)
			return nil
		})
		verdict, err := s.engine(barrier).Confirm(t.Context(), []diff.Suspect{{ID: "p", Kind: product.Missing, FirstSeen: time.Now(), Stamp: made}})
		if err != nil || len(verdict.Confirmed) != 1 || verdict.Confirmed[0].Kind != product.Stale {
			t.Fatalf("verdict %+v, %v", verdict, err)
		}
		if want := []product.Kind{product.Missing, product.Stale}; !slices.Equal(waited, want) {
			t.Errorf("waited for %v, want %v", waited, want)
		}
	})
}

func TestAProductThatKeepsChangingIsInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		s := differing(product.Stale, "p", begun)
		looks := 0
		s.atLook(func(look int) {
			looks = look
			s.setTitle(fmt.Sprint("Lamp ", look))
		})
		verdict, err := s.engine(nil).Confirm(t.Context(), []diff.Suspect{{ID: "p", Kind: product.Stale, FirstSeen: begun, Stamp: begun}})
		if err != nil || len(verdict.Confirmed)+verdict.Resolved > 0 || len(verdict.InFlight) != 1 {
			t.Fatalf("verdict %+v, %v", verdict, err)
		}
		if got := verdict.InFlight[0]; got.ID != "p" || got.Kind != product.Stale || got.Reason != "the product keeps changing" {
			t.Errorf("in flight %+v", got)
		}
		if looks != 3 || time.Since(begun) != 3*settle {
			t.Errorf("%d looks in %s, want 3 in %s", looks, time.Since(begun), 3*settle)
		}
	})
}

// Many suspects of all kinds, of which some are resolved, in several batches.
func TestEachSuspectOfAWindowIsDecidedByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(orders()[0])
		var window []diff.Suspect
		for i := range 20 {
			kind := product.Kinds()[i%3]
			id := product.ID(fmt.Sprintf("%s %02d", kind, i))
			s.differ(kind, id, time.Time{})
			window = append(window, diff.Suspect{ID: id, Kind: kind, FirstSeen: time.Now()})
		}
		window = append(window, window[3], window[4]) // a cursor may return a product twice
		s.rows = append(s.rows, newRow(window[0].ID), newRow(window[9].ID))
		verdict, err := s.engine(nil).Confirm(t.Context(), window)
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		for _, d := range verdict.Confirmed {
			got = append(got, fmt.Sprintf("%s, %d fields", d.ID, len(d.Fields)))
			if product.ID(d.Kind) != d.ID[:len(d.Kind)] {
				t.Errorf("%q is %s", d.ID, d.Kind)
			}
		}
		for i, suspect := range window[:20] {
			if i != 0 && i != 9 {
				want = append(want, fmt.Sprintf("%s, %d fields", suspect.ID, map[product.Kind]int{product.Stale: 1}[suspect.Kind]))
			}
		}
		if !slices.Equal(got, want) || verdict.Resolved != 2 || len(verdict.InFlight) != 0 {
			t.Errorf("confirmed %q, want %q; %d resolved, want 2", got, want, verdict.Resolved)
		}
	})
}

func TestAnEmptyWindowIsDecidedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStores(orders()[0])
	s.onRead = func(context.Context, read) error { return errBroken }
	barrier := barrierFunc(func(context.Context, product.Kind, time.Time) error { return errBroken })
	if verdict, err := s.engine(barrier).Confirm(t.Context(), nil); err != nil || !reflect.DeepEqual(verdict, diff.Verdict{}) {
		t.Errorf("verdict %+v, %v", verdict, err)
	}
}

func TestAStalledQueueLeavesItsKindInFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStores(orders()[0])
		var window []diff.Suspect
		for _, kind := range product.Kinds() {
			s.differ(kind, product.ID(kind), time.Time{})
			window = append(window, diff.Suspect{ID: product.ID(kind), Kind: kind, FirstSeen: time.Now()})
		}
		stall := &diff.StalledError{Queue: "product-created", Waited: 10 * time.Minute, Ready: 5000, Idle: true}
		barrier := barrierFunc(func(_ context.Context, kind product.Kind, _ time.Time) error {
			if kind == product.Missing {
				return fmt.Errorf("wait: %w", stall)
			}
			return nil
		})
		looked := 0
		s.atLook(func(int) { looked++ })
		verdict, err := s.engine(barrier).Confirm(t.Context(), window)
		if err != nil {
			t.Fatal(err)
		}
		if len(verdict.InFlight) != 1 || verdict.InFlight[0].ID != "missing" || verdict.InFlight[0].Reason != stall.Error() {
			t.Errorf("in flight %+v, want the missing product because of %q", verdict.InFlight, stall)
		}
		if len(verdict.Confirmed) != 2 || verdict.Confirmed[0].ID != "stale" || verdict.Confirmed[1].ID != "orphaned" {
			t.Errorf("confirmed %+v, want those of the other queues", verdict.Confirmed)
		}
		if looked != 1 {
			t.Errorf("%d looks, want 1", looked)
		}
	})
}

func TestConfirmationEndsWithTheError(t *testing.T) {
	t.Parallel()
	cause := errors.New("stopped by a person")
	tests := []struct {
		name    string
		barrier func(context.Context, context.CancelCauseFunc) error
		onRead  func(r read) error
		stop    time.Duration // after the beginning; 0 is never
		want    error
	}{
		{name: "the source fails", onRead: func(r read) error {
			if r == sourceFindRead {
				return errBroken
			}
			return nil
		}, want: errBroken},
		{name: "the cart fails", onRead: func(r read) error {
			if r == targetFindRead {
				return errBroken
			}
			return nil
		}, want: errBroken},
		{name: "the queue's watch fails", barrier: func(context.Context, context.CancelCauseFunc) error { return errBroken }, want: errBroken},
		{name: "stopped while it settles", stop: settle / 2, want: cause},
		{name: "stopped while it waits for the queue", barrier: func(ctx context.Context, stop context.CancelCauseFunc) error {
			stop(cause)
			return context.Cause(ctx)
		}, want: cause},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				if test.stop > 0 {
					time.AfterFunc(test.stop, func() { stop(cause) })
				}
				s := differing(product.Missing, "p", time.Time{})
				s.onRead = func(_ context.Context, r read) error {
					if test.onRead == nil {
						return nil
					}
					return test.onRead(r)
				}
				var barrier diff.Barriers
				if test.barrier != nil {
					barrier = barrierFunc(func(ctx context.Context, _ product.Kind, _ time.Time) error { return test.barrier(ctx, stop) })
				}
				verdict, err := s.engine(barrier).Confirm(ctx, []diff.Suspect{{ID: "p", Kind: product.Missing, FirstSeen: time.Now()}})
				if !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if !reflect.DeepEqual(verdict, diff.Verdict{}) {
					t.Errorf("and yet a verdict: %+v", verdict)
				}
			})
		})
	}
}

// A row that arrives between the two reads of one look counts: the cart is read last.
func TestTheSourceIsReadBeforeTheCart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := differing(product.Missing, "p", time.Time{})
		var reads []read
		s.onRead = func(_ context.Context, r read) error {
			reads = append(reads, r)
			return nil
		}
		if _, err := s.engine(nil).Confirm(t.Context(), []diff.Suspect{{ID: "p", Kind: product.Missing, FirstSeen: time.Now()}}); err != nil {
			t.Fatal(err)
		}
		if want := []read{sourceFindRead, targetFindRead}; !slices.Equal(reads, want) {
			t.Errorf("reads %v, want %v", reads, want)
		}
	})
}
