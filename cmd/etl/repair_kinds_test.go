package main

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
	"github.com/ecom-micro/etl/internal/words"
)

// Every way in which a product may differ, all at once: each is repaired once or named
// as blocked, and the cart's consumer lives.
func TestSyncRepairsAllKindsAtOnce(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		const missing, stale, orphaned = 60, 25, 15
		s := newShop(t, 600, every(10))
		var titles, prices []string
		for i := range stale {
			titles = append(titles, s.products.Key(10*i+1))
			prices = append(prices, s.products.Key(10*i+2))
		}
		s.cart.Exec("UPDATE product SET title = 'as it was before' WHERE id = ANY($1)", titles)
		s.cart.Exec("UPDATE product SET price = price + 1, image = 'https://old.example/' || id WHERE id = ANY($1)", prices)
		seller := s.products.Key(3)
		s.cart.Exec(`UPDATE product SET "sellerId" = '615e11e4000000000000ffff' WHERE id = $1`, seller)
		orphans := platform.Assortment{Seed: 77, N: orphaned + 1}
		s.cart.Fill(orphans.All())
		held := orphans.Key(orphaned)
		s.cart.Hold(held)
		consumer := s.consumer()

		args := []string{"--mode", string(mode), "--repair", "missing,stale,orphaned", "--max-deletes", "100"}
		report := s.mustSync(t.Context(), exitDifferences, args...)
		blocked := []string{held}
		wantStale := map[run.State]int64{run.Verified: 2*stale + 1}
		if mode == run.Replay { // no event sets a seller
			blocked = append(blocked, seller)
			wantStale = map[run.State]int64{run.Verified: 2 * stale, run.Blocked: 1}
		}
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: missing})
		wantOutcomes(t, report, product.Stale, wantStale)
		wantOutcomes(t, report, product.Orphaned, map[run.State]int64{run.Verified: orphaned, run.Blocked: 1})
		wantReason(t, report, held, product.Orphaned, run.ReasonReferenced, "cart")
		if mode == run.Replay {
			wantReason(t, report, seller, product.Stale, run.ReasonUseDirect, "sellerId")
		}
		s.wantAgreement(blocked...)
		wantEvents(t, consumer, mode, cart.Counts{Inserted: missing, Updated: 2 * stale, Deleted: orphaned})

		// Once nobody holds the orphan, a direct run repairs whatever is left.
		s.cart.Exec("DELETE FROM cart")
		left := s.mustSync(t.Context(), exitOK, "--mode", string(run.Direct), "--repair", "missing,stale,orphaned", "--max-deletes", "100")
		if left.Acted != int64(len(blocked)) {
			t.Errorf("%d repairs were left, want %d", left.Acted, len(blocked))
		}
		s.wantComplete()
		if err := consumer.Err(); err != nil {
			t.Errorf("the consumer died: %v", err)
		}
	})
}

// What is not asked for is reported and left alone.
func TestSyncRepairsOnlyTheKindsAskedFor(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 100, every(10))
		stale := s.products.Key(1)
		s.cart.Exec("UPDATE product SET title = 'as it was before' WHERE id = $1", stale)
		orphans := platform.Assortment{Seed: 77, N: 3}
		s.cart.Fill(orphans.All())
		consumer := s.consumer()
		report := s.sync(t.Context(), "--mode", string(mode), "--repair", "stale").report
		if report == nil {
			t.Fatal("there is no report")
		}
		wantOutcomes(t, report, product.Stale, map[run.State]int64{run.Verified: 1})
		for kind, want := range map[product.Kind]int64{product.Missing: 10, product.Orphaned: 3} {
			// Nobody waits for them, so that some may not have settled.
			if got := report.ByKind[kind]; got[run.Found]+got[run.InFlight] != want {
				t.Errorf("%s: %v, want %d that are left alone", kind, got, want)
			}
		}
		if n := s.cart.Count(); n != 90+3 {
			t.Errorf("the cart has %d rows, want 93", n)
		}
		wantEvents(t, consumer, mode, cart.Counts{Updated: 1})
	})
}

// Where more would have to be deleted than is allowed, nothing is, and it is said which
// option allows it. A limit of repairs holds for deletions too, and the rest is named.
func TestSyncDeletesAtMostWhatIsAllowed(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 100, none)
		orphans := platform.Assortment{Seed: 77, N: 12}
		s.cart.Fill(orphans.All())
		consumer := s.consumer()
		stopped := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode), "--repair", "orphaned", "--max-deletes", "11")
		wantOutcomes(t, stopped, product.Orphaned, map[run.State]int64{run.Found: 12})
		if stopped.Result != run.Stopped || stopped.Acted != 0 || s.cart.Count() != 112 || !strings.Contains(notes(stopped), "--max-deletes 12") {
			t.Errorf("12 are to be deleted where 11 may be, and the run is %s: %s", stopped.Result, notes(stopped))
		}
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode), "--repair", "orphaned", "--max-deletes", "12", "--max-repairs", "5")
		wantOutcomes(t, report, product.Orphaned, map[run.State]int64{run.Verified: 5, run.Skipped: 7})
		if n := s.cart.Count(); n != 100+7 {
			t.Errorf("the cart has %d rows, want 107", n)
		}
		wantEvents(t, consumer, mode, cart.Counts{Deleted: 5})
	})
}

// wantOutcomes insists on what became of the products of one kind.
func wantOutcomes(t *testing.T, report *words.ReportDocument, kind product.Kind, want map[run.State]int64) {
	t.Helper()
	for _, rule := range run.States() {
		if got := report.ByKind[kind][rule.State]; got != want[rule.State] {
			t.Errorf("%s: %d %s, want %d", kind, got, rule.State, want[rule.State])
		}
	}
}

// wantReason insists that a product is blocked for a reason that speaks of detail.
func wantReason(t *testing.T, report *words.ReportDocument, id string, kind product.Kind, code run.Code, detail string) {
	t.Helper()
	for _, o := range report.Samples {
		if o.ID == product.ID(id) && o.Kind == kind {
			if o.State != run.Blocked || o.Code != code || !strings.Contains(o.Reason, detail) {
				t.Errorf("%s is %s for %+v, want it blocked: %s %s", id, o.State, o.Reason, code, detail)
			}
			return
		}
	}
	t.Errorf("%s is not named", id)
}

// wantEvents insists on what became of the events that the cart's consumer was offered
// by a replay, none twice; a direct run offers none. It must be alive.
func wantEvents(t *testing.T, consumer *cart.Consumer, mode run.Mode, want cart.Counts) {
	t.Helper()
	if mode == run.Direct {
		want = cart.Counts{}
	}
	if got := consumer.Counts(); got != want {
		t.Errorf("the consumer's events: %+v, want %+v", got, want)
	}
	wantUnharmed(t, consumer)
}

// wantUnharmed insists that the cart's consumer never died, and that no product was
// offered to it twice.
func wantUnharmed(t *testing.T, consumer *cart.Consumer) {
	t.Helper()
	if err := consumer.Err(); err != nil {
		t.Errorf("the consumer died: %v", err)
	}
	for _, queue := range platform.ProductQueues() {
		if twice := consumer.Repeated(queue); len(twice) > 0 {
			t.Errorf("%d products were offered more than once in %s: %v", len(twice), queue, twice)
		}
	}
}

// wantAgreement insists that the cart holds exactly the products of the catalogue as
// they are now, but for those that are excepted.
func (s *shop) wantAgreement(except ...string) {
	s.tb.Helper()
	cursor, err := s.catalogue.Collection.Find(s.tb.Context(), bson.D{}, options.Find().SetSort(bsonDocument("_id", 1)))
	if err != nil {
		s.tb.Fatal(err)
	}
	var products []platform.Product
	if err := cursor.All(s.tb.Context(), &products); err != nil {
		s.tb.Fatal(err)
	}
	want := map[string]testenv.Row{}
	for _, p := range products {
		want[p.ID.Hex()] = testenv.RowOf(p)
	}
	got := map[string]testenv.Row{}
	for _, row := range s.cart.Rows() {
		got[row.ID] = row
	}
	for _, id := range except {
		delete(want, id)
		delete(got, id)
	}
	differ := 0
	for id, row := range want {
		if got[id] != row {
			differ++
			s.tb.Logf("the cart holds %+v, want %+v", got[id], row)
		}
		delete(got, id)
	}
	if differ > 0 || len(got) > 0 {
		s.tb.Errorf("%d of %d products are not in the cart as they should be, and %d rows are too many", differ, len(want), len(got))
	}
}
