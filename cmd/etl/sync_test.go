package main

import (
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// eachMode runs a test once for each way to repair.
func eachMode(t *testing.T, test func(*testing.T, run.Mode)) {
	t.Helper()
	for _, mode := range []run.Mode{run.Replay, run.Direct} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			test(t, mode)
		})
	}
}

func TestSyncRepairsAndProvesWhatIsMissing(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 3000, every(10))
		s.consumer()
		report := s.mustSync(t.Context(), exitOK, "--mode", string(mode))
		if report.Result != run.Succeeded || report.Outcomes[run.Verified] != 300 || report.Acted != 300 {
			t.Errorf("the report is %+v, want 300 verified by 300 repairs", report)
		}
		s.wantComplete()
		again := s.mustSync(t.Context(), exitOK, "--mode", string(mode))
		if again.Result != run.InSync || again.Acted != 0 {
			t.Errorf("a second run is %s with %d repairs, want in sync with none", again.Result, again.Acted)
		}
	})
}

func TestSyncDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 200, every(10))
	s.consumer()
	report := s.mustSync(t.Context(), exitDifferences, "--dry-run")
	if report.Found[product.Missing] != 20 || report.Acted != 0 {
		t.Errorf("%d missing, %d repaired, want 20 and none", report.Found[product.Missing], report.Acted)
	}
	if n := s.cart.Count(); n != 180 {
		t.Errorf("the cart has %d rows after a dry run, want 180", n)
	}
}

func TestSyncBlocksWhatTheCartCannotHold(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		s := newShop(t, 500, every(10))
		consumer := s.consumer()
		want := map[string]string{}
		odd := func(column string, changes ...bson.E) {
			want[s.catalogue.InsertOdd(changes...).ID.Hex()] = column
		}
		odd("price", bson.E{Key: "price", Value: 9.99})
		odd("price", bson.E{Key: "price", Value: int64(3_000_000_000)})
		odd("image", bson.E{Key: "image", Value: platform.Absent})
		odd("title", bson.E{Key: "title", Value: "a\x00b"})
		odd("sellerId", bson.E{Key: "sellerId", Value: platform.Absent})
		odd("quantity", bson.E{Key: "quantity", Value: nil})
		whole := s.catalogue.InsertOdd(bson.E{Key: "price", Value: 9.0})
		text := s.catalogue.InsertOdd(bson.E{Key: "price", Value: "777"})

		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode))
		if got := report.Outcomes[run.Blocked]; got != int64(len(want)) {
			t.Errorf("%d blocked, want %d", got, len(want))
		}
		for _, o := range report.Samples {
			if o.State == run.Blocked && (want[string(o.ID)] != o.Column || o.Reason == "" || o.Remedy == "") {
				t.Errorf("%s is blocked by %q (%s; %s), want %q with a reason and a remedy", o.ID, o.Column, o.Reason, o.Remedy, want[string(o.ID)])
			}
		}
		if got := report.Outcomes[run.Verified]; got != 52 {
			t.Errorf("%d verified, want 52: all others", got)
		}
		if row, _ := s.cart.Row(whole.ID.Hex()); row.Price != 9 {
			t.Errorf("price 9.0 became %d", row.Price)
		}
		if row, _ := s.cart.Row(text.ID.Hex()); row.Price != 777 {
			t.Errorf("price \"777\" became %d", row.Price)
		}
		if consumer.Err() != nil {
			t.Errorf("the consumer died: %v", consumer.Err())
		}
	})
}

// What waits in the queue of a consumer that stands still is on its way: it is neither
// published again nor written.
func TestSyncLeavesWhatIsQueued(t *testing.T) {
	t.Parallel()
	const queued, lost = 5000, 50
	s := newShop(t, 6000, func(i int) bool { return i < queued+lost })
	for p := range s.products.Where(func(i int) bool { return i < queued }) {
		s.broker.Publish(platform.ProductCreated, p.Event())
	}
	goOn := s.standstill()
	consumer := s.consumer()
	sync := s.start(t.Context(), "sync")
	sync.awaitPhase(t, run.PhaseConfirming)
	goOn()
	o := sync.wait()
	if o.code != exitOK || !strings.Contains(o.stdout, "50 of 50 missing products verified") || !strings.Contains(o.stdout, "│ resolved           │ 5,000") {
		t.Errorf("etl sync ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if got := consumer.Counts(); got.Ignored != 0 || got.Inserted != queued+lost {
		t.Errorf("the consumer inserted %d and ignored %d events, want %d and none", got.Inserted, got.Ignored, queued+lost)
	}
	s.wantComplete()
}

func TestSyncReportsWhatStaysQueuedAsInFlight(t *testing.T) {
	t.Parallel()
	s := newShop(t, 300, every(10)).with(map[string]string{"SYNC_STALL_TIMEOUT": "2s"})
	for p := range s.products.Where(every(10)) {
		s.broker.Publish(platform.ProductCreated, p.Event())
	}
	defer s.standstill()()
	s.consumer()
	testenv.Eventually(t, watchFor, func() bool { return s.broker.QueueStats(platform.ProductCreated).Ready == 29 }, "the consumer to have one event in hand")
	for _, mode := range []run.Mode{run.Replay, run.Direct} { // one after the other: they share the lock
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode))
		if got := report.Outcomes[run.InFlight]; got != 30 || report.Acted != 0 {
			t.Errorf("%d in flight and %d repaired, want 30 and none", got, report.Acted)
		}
		if reason := report.Samples[0].Reason; !strings.Contains(reason, "29 events waiting in product-created, 1 consumer since ") {
			t.Errorf("the reason is %q", reason)
		}
	}
}

// Order and cart consume the same queues, so an event reaches one of them only.
func TestSyncSurvivesAThief(t *testing.T) {
	t.Parallel()
	const pace = 2 * time.Millisecond // the same for both, so that each gets a good share
	s := newShop(t, 2000, every(4))
	s.consumer(func(c *cart.Config) { c.DelayPerEvent = pace })
	s.thief(pace)
	report := s.mustSync(t.Context(), exitOK)
	if report.Outcomes[run.Verified] != 500 || report.Attempts < 2 {
		t.Errorf("%d verified in %d attempts, want 500 in several", report.Outcomes[run.Verified], report.Attempts)
	}
	if notes := notes(report); !strings.Contains(notes, "left no row") || !strings.Contains(notes, "2 consumers") {
		t.Errorf("the notes do not say why it took several attempts: %q", notes)
	}
	s.wantComplete()
}

func TestSyncFallsBackToDirect(t *testing.T) {
	t.Parallel()
	s := newShop(t, 200, every(4)).with(map[string]string{"SYNC_MAX_ROUNDS": "1"})
	s.consumer(func(c *cart.Config) { c.DelayPerEvent = 10 * time.Millisecond })
	s.thief(0)
	report := s.mustSync(t.Context(), exitOK, "--fallback", "direct")
	if report.Outcomes[run.Verified] != 50 || !strings.Contains(notes(report), "fallback") {
		t.Errorf("%d verified, want 50; the notes are %q", report.Outcomes[run.Verified], report.Notes)
	}
	s.wantComplete()
}

func TestManagementAPINamesTheThief(t *testing.T) {
	t.Parallel()
	s := newShop(t, 200, every(4))
	s = s.with(map[string]string{"RABBITMQ_MANAGEMENT_URL": s.broker.Management, "SYNC_MAX_ROUNDS": "1"})
	s.consumer(func(c *cart.Config) { c.DelayPerEvent = 10 * time.Millisecond })
	thief := s.thief(0)
	// The management API knows connections some seconds late.
	testenv.Eventually(t, watchFor, func() bool {
		o := s.etl(t.Context(), "doctor")
		return strings.Contains(o.stdout, cart.ThiefName) && strings.Contains(o.stdout, cart.ConnectionName)
	}, "the management API to know the consumers")
	report := s.mustSync(t.Context(), exitDifferences)
	if report.Outcomes[run.Lost] != int64(thief.Taken()) {
		t.Errorf("%d lost, the thief took %d", report.Outcomes[run.Lost], thief.Taken())
	}
	if notes := notes(report); !strings.Contains(notes, cart.ThiefName) || !strings.Contains(notes, cart.ConnectionName) {
		t.Errorf("the notes do not name the consumers: %q", notes)
	}
}

// A comparison may be slow on purpose, and a run may not take for ever.
func TestARunHasItsTime(t *testing.T) {
	t.Parallel()
	s := newShop(t, 600, every(10)).with(map[string]string{"SYNC_SCAN_RATE": "100", "SYNC_MAX_DURATION": "2s"})
	s.consumer()
	o := s.etl(t.Context(), "sync", "--max-repairs", "100")
	if o.code != exitService || !strings.Contains(o.stderr+o.stdout, "the run took longer than SYNC_MAX_DURATION (2s): what it has done stays, and the next run finds the rest") {
		t.Errorf("ended with %d\n%s\n%s", o.code, o.stdout, o.stderr)
	}
	s = s.with(map[string]string{"SYNC_SCAN_RATE": "", "SYNC_MAX_DURATION": ""})
	if o := s.etl(t.Context(), "sync", "--max-repairs", "100"); o.code != exitOK {
		t.Errorf("the next one ended with %d\n%s\n%s", o.code, o.stdout, o.stderr)
	}
	s.wantComplete()
}
