package main

import (
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/words"
)

// CASES F1: the Product Service publishes a burst of creates long after it has stored
// them, and runs follow each other meanwhile. Nothing is lost, so nothing is to be done.

// A direct write that meets a late event kills the consumer, so a direct run leaves
// alone what is younger than any event can be late. It needs to have learnt nothing.
func TestCaseF1DirectLeavesTheYoungAlone(t *testing.T) {
	t.Parallel()
	const burst = 120
	s := newShop(t, 200, none).with(map[string]string{"SYNC_SETTLE": "1s", "SYNC_SETTLE_MAX": "1m"})
	consumer := s.consumer(slow(cart.RealDelay))
	service := testenv.NewProductService(t, s.catalogue, s.broker, testenv.PublishRate(20))
	service.Create(burst)
	reports := s.syncWhile(func() bool { return service.Waiting() > 0 }, "--mode", string(run.Direct))
	if len(reports) < 2 {
		t.Errorf("%d runs fell into the burst, too few to tell anything", len(reports))
	}
	s.wantNothingDone(reports, consumer, burst)
}

// A replay waits for as long as events were lately seen to be late. The run that sees
// it first cannot know it: it has a settle that outlasts the burst.
func TestCaseF1ReplayLearnsHowLateEventsAre(t *testing.T) {
	t.Parallel()
	const first, second = 140, 60 // published within 7 s and 3 s
	s := newShop(t, 200, none).with(map[string]string{"SYNC_SETTLE_MAX": "1m"})
	consumer := s.consumer(slow(cart.RealDelay))
	service := testenv.NewProductService(t, s.catalogue, s.broker, testenv.PublishRate(20))
	service.Create(first)
	patient := s.with(map[string]string{"SYNC_SETTLE": "15s"})
	reports := []*words.ReportDocument{patient.mustSync(t.Context(), exitOK)}

	// The ledger has seen events that were at least 5 s late; without it a settle of 1 s
	// would take the second half of this burst for lost.
	hasty := s.with(map[string]string{"SYNC_SETTLE": "1s"})
	service.WaitPublished()
	service.Create(second)
	reports = append(reports, hasty.syncWhile(func() bool { return service.Waiting() > 0 })...)
	s.wantNothingDone(reports, consumer, first+second)
}

// What a fresh ledger cannot prevent: events that are later than SYNC_SETTLE, when none
// was seen to be late before, are taken for lost and sent a second time by a replay.
// The consumer takes that, no row is harmed, and no product is sent more than once by us.
func TestCaseF1AFreshLedgerMayReplayWhatIsLate(t *testing.T) {
	t.Parallel()
	const burst = 80 // published within 4 s
	s := newShop(t, 200, none).with(map[string]string{"SYNC_SETTLE": "1s"})
	consumer := s.consumer(slow(cart.RealDelay))
	service := testenv.NewProductService(t, s.catalogue, s.broker, testenv.PublishRate(20))
	service.Create(burst)
	reports := s.syncWhile(func() bool { return service.Waiting() > 0 })
	var replayed int64
	for _, report := range reports {
		replayed += report.Acted
	}
	t.Logf("%d of %d were replayed though they were merely late", replayed, burst)
	testenv.Reaches(t, watchFor, burst+int(replayed), func() int { return consumer.Counts().Acked() }, "events to be consumed")
	if got := consumer.Counts(); got != (cart.Counts{Inserted: burst, Ignored: int(replayed)}) {
		t.Errorf("the consumer's events: %+v, want %d inserted and %d ignored", got, burst, replayed)
	}
	if err := consumer.Err(); err != nil {
		t.Errorf("the consumer died: %v", err)
	}
	s.wantAgreement()
}

// syncWhile makes one run after the other, one a second where they are shorter, as the
// scheduler would, while something goes on; the last run begins after it has ended.
func (s *shop) syncWhile(goesOn func() bool, args ...string) []*words.ReportDocument {
	s.tb.Helper()
	var reports []*words.ReportDocument
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for last := false; !last; <-tick.C {
		last = !goesOn()
		o := s.sync(s.tb.Context(), args...)
		if o.report == nil {
			s.tb.Fatalf("a run ended with %d: %s", o.code, o.stderr)
		}
		reports = append(reports, o.report)
	}
	return reports
}

// wantNothingDone insists that no run did anything, and that the cart has got by itself
// all events of n creates.
func (s *shop) wantNothingDone(reports []*words.ReportDocument, consumer *cart.Consumer, n int) {
	s.tb.Helper()
	for i, report := range reports {
		if report.Acted != 0 || report.Result == run.Broken {
			s.tb.Errorf("run %d is %s and did %d repairs: %v %s", i, report.Result, report.Acted, report.Outcomes, report.Error)
		}
	}
	testenv.Reaches(s.tb, watchFor, n, func() int { return consumer.Counts().Acked() }, "events to be consumed")
	if got := consumer.Counts(); got != (cart.Counts{Inserted: n}) {
		s.tb.Errorf("the consumer's events: %+v, want %d inserted", got, n)
	}
	if err := consumer.Err(); err != nil {
		s.tb.Errorf("the consumer died: %v", err)
	}
	s.wantAgreement()
}
