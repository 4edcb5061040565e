package main

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// The cases C of RabbitMQ in the field.

// slow is a consumer that needs some time for each event.
func slow(perEvent time.Duration) func(*cart.Config) {
	return func(c *cart.Config) { c.DelayPerEvent = perEvent }
}

// queue publishes the events of some products that the cart does not have.
func (s *shop) queue(which func(i int) bool) {
	s.tb.Helper()
	var events [][]byte
	for p := range s.products.Where(which) {
		events = append(events, p.Event())
	}
	s.broker.Publish(platform.ProductCreated, events...)
}

// awaitPhase waits until a run says that it is in a phase.
func (r *running) awaitPhase(tb testing.TB, phase run.Phase) {
	tb.Helper()
	testenv.Eventually(tb, watchFor, func() bool { return strings.Contains(r.stderr.String(), string(phase)) }, "the run to be "+string(phase))
}

// mustEnd waits for the end of a command, which must end with the code.
func (r *running) mustEnd(tb testing.TB, code int) outcome {
	tb.Helper()
	o := r.wait()
	if o.code != code {
		tb.Fatalf("it ended with %d, not %d\nstdout: %s\nstderr: %s", o.code, code, o.stdout, o.stderr)
	}
	return o
}

// A quorum queue whose leader does not answer shows no messages and no consumers. That
// is not an empty queue: what waits in it is not missing.
func TestCaseC1ASilentLeaderIsNoEmptyQueue(t *testing.T) {
	t.Parallel()
	server, _ := testenv.PrivateBroker(t)
	eachMode(t, func(t *testing.T, mode run.Mode) {
		const queued, lost = 200, 30
		broker := testenv.VhostOn(t, server.URL, server.Management, testenv.QuorumQueues())
		s := newShopOn(t, broker, 1000, func(i int) bool { return i < queued+lost })
		s.queue(func(i int) bool { return i < queued })
		consumer := s.consumer(slow(20 * time.Millisecond))
		sync := s.start(t.Context(), "sync", "--mode", string(mode), "--output", "json")
		s.begins() // at its start it would take a queue without consumers for just that
		testenv.Reaches(t, watchFor, 50, func() int { return consumer.Counts().Inserted }, "events to be consumed")
		resume := broker.SuspendLeader(server, platform.ProductCreated)
		<-time.After(6 * time.Second) // for as long as the fault lasts
		resume()
		sync.mustEnd(t, exitOK)
		s.wantComplete()
		want := cart.Counts{Inserted: queued}
		if mode == run.Replay {
			want.Inserted += lost
		}
		if got := consumer.Counts(); got != want {
			t.Errorf("the consumer's events: %+v, want %+v", got, want)
		}
		wantUnharmed(t, consumer)
	})
}

// A consumer without prefetch takes everything out of the queue, which is then not empty
// because it was consumed: what was published and has not arrived counts.
func TestCaseC2AConsumerWithoutPrefetchIsNotFlooded(t *testing.T) {
	t.Parallel()
	const lost, depth = 100, 10
	s := newShop(t, 500, every(5)).with(map[string]string{"REPLAY_MAX_QUEUE_DEPTH": strconv.Itoa(depth)})
	consumer := s.consumer(slow(50*time.Millisecond), func(c *cart.Config) { c.NoPrefetch = true })
	service := testenv.NewProductService(t, s.catalogue, s.broker, testenv.PublishRate(1000))
	sync := s.start(t.Context(), "sync", "--output", "json")
	inserted := func() int { return consumer.Counts().Inserted }
	testenv.Reaches(t, watchFor, 5, inserted, "events to be consumed")

	// A live event waits for no more of ours than may be outstanding.
	before := inserted()
	live := service.Create(1)[0].ID.Hex()
	testenv.Reaches(t, watchFor, 1, func() int { return consumer.CountsOf(live).Inserted }, "live event to be consumed")
	const unnoticed = 10 // events that may be consumed between two looks of this test
	if ahead := inserted() - before; ahead > depth+unnoticed {
		t.Errorf("%d events were consumed before the live one, want at most %d", ahead, depth)
	}
	sync.mustEnd(t, exitOK)
	if got := consumer.Counts(); got != (cart.Counts{Inserted: lost + 1}) {
		t.Errorf("the consumer's events: %+v, want %d inserted", got, lost+1)
	}
	wantUnharmed(t, consumer)
	s.wantAgreement()
}

// A queue of limited length throws away its oldest events, live ones among them, where
// too much is published. With the management API its limit is known before.
func TestCaseC4ALengthLimitIsKnown(t *testing.T) {
	t.Parallel()
	const limit, lost, live = 20, 200, 20
	s := newShop(t, 1000, every(5))
	s.broker.LimitLength(platform.ProductCreated, limit, testenv.DropHead)
	s = s.with(map[string]string{"RABBITMQ_MANAGEMENT_URL": s.broker.Management})
	consumer := s.consumer(slow(5 * time.Millisecond))
	service := testenv.NewProductService(t, s.catalogue, s.broker, testenv.PublishRate(20))
	sync := s.start(t.Context(), "sync", "--output", "json")
	testenv.Reaches(t, watchFor, 5, func() int { return consumer.Counts().Inserted }, "events to be consumed")
	service.Create(live)
	report := sync.mustEnd(t, exitOK).decoded(t)
	service.WaitPublished()
	testenv.Reaches(t, watchFor, lost+live, func() int { return consumer.Counts().Inserted }, "events to be consumed")
	if report.Outcomes[run.Verified] != lost || report.Attempts != 1 {
		t.Errorf("%v by up to %d attempts, want %d verified by one", report.Outcomes, report.Attempts, lost)
	}
	if n := note(report, run.NoteQueueLimit); n == nil || !strings.Contains(n.Text, strconv.Itoa(limit)+" messages") {
		t.Errorf("the limit of %d is not named: %+v", limit, report.Notes)
	}
	wantUnharmed(t, consumer)
	s.wantAgreement()
}

// The same in bytes, of which the events' own sizes make a number of them.
func TestCaseC4ALengthLimitInBytesIsKnown(t *testing.T) {
	t.Parallel()
	const limit, lost = 10_000, 100
	s := newShop(t, 500, every(5))
	s.broker.Restrict(platform.ProductCreated, map[string]any{"max-length-bytes": limit, "overflow": testenv.DropHead})
	s = s.with(map[string]string{"RABBITMQ_MANAGEMENT_URL": s.broker.Management})
	consumer := s.consumer(slow(5 * time.Millisecond))
	report := s.mustSync(t.Context(), exitOK)
	if report.Outcomes[run.Verified] != lost || report.Attempts != 1 {
		t.Errorf("%v by up to %d attempts, want %d verified by one", report.Outcomes, report.Attempts, lost)
	}
	if n := note(report, run.NoteQueueLimit); n == nil || !strings.Contains(n.Text, "its limit is 10,000 bytes") {
		t.Errorf("the limit of %d bytes is not named: %+v", limit, report.Notes)
	}
	wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: lost})
	s.wantComplete()
}

// Without the management API the limit is found out: fewer at a time after losses.
func TestCaseC4AnUnknownLengthLimitIsFoundOut(t *testing.T) {
	t.Parallel()
	s := newShop(t, 1000, func(i int) bool { return i < 60 })
	s.broker.LimitLength(platform.ProductCreated, 20, testenv.DropHead)
	consumer := s.consumer(slow(5 * time.Millisecond))
	report := s.mustSync(t.Context(), exitOK)
	if report.Outcomes[run.Verified] != 60 {
		t.Errorf("%v, want 60 verified", report.Outcomes)
	}
	wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: 60})
	s.wantComplete()
}

// An event that the broker refused is not there: it was neither accepted nor consumed.
func TestCaseC5RefusedEventsAreNotThere(t *testing.T) {
	t.Parallel()
	const lost = 200
	s := newShop(t, 1000, every(5))
	s.broker.LimitLength(platform.ProductCreated, 20, testenv.RejectPublish)
	consumer := s.consumer(slow(5 * time.Millisecond))
	report := s.mustSync(t.Context(), exitOK)
	if report.Outcomes[run.Verified] != lost {
		t.Errorf("%v, want %d verified", report.Outcomes, lost)
	}
	if n := note(report, run.NoteConsumed); n != nil {
		t.Errorf("refused events are called consumed: %+v", n)
	}
	wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: lost})
	s.wantComplete()
}

// A report claims only what was seen: these events were consumed indeed.
func TestCaseC6ConsumedAndForgotten(t *testing.T) {
	t.Parallel()
	const lost = 20
	s := newShop(t, 200, every(10)).with(map[string]string{"SYNC_MAX_ROUNDS": "1"})
	consumer := s.consumer(func(c *cart.Config) { c.Forgetful = true })
	report := s.mustSync(t.Context(), exitDifferences)
	wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Lost: lost})
	for _, o := range report.Samples {
		if o.Code != run.ReasonConsumed {
			t.Errorf("%s is lost for %+v, want it consumed", o.ID, o.Reason)
		}
	}
	if n := note(report, run.NoteConsumed); n == nil || !strings.HasPrefix(n.Text, strconv.Itoa(lost)+" of "+strconv.Itoa(lost)+" events were consumed and left no row") {
		t.Errorf("the notes do not say that %d events were consumed in vain: %+v", lost, report.Notes)
	}
	wantEvents(t, consumer, run.Replay, cart.Counts{Ignored: lost})
}

// Without its binding the cart's queue gets nothing from the exchange, and an alternate
// exchange takes the events, confirmed. By name the queue is reached all the same.
func TestCaseC6UnboundQueueIsReachedByName(t *testing.T) {
	t.Parallel()
	s := newShop(t, 200, every(10))
	elsewhere := s.broker.DivertUnroutable()
	consumer := s.consumer()
	s.broker.Unbind(platform.ProductCreated) // now: the cart binds its queues when it starts
	report := s.mustSync(t.Context(), exitOK)
	if report.Outcomes[run.Verified] != 20 {
		t.Errorf("%v, want 20 verified", report.Outcomes)
	}
	wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: 20})
	if n := s.broker.QueueStats(elsewhere).Ready; n != 0 {
		t.Errorf("%d events went elsewhere", n)
	}
	s.wantComplete()
}

// Through the exchange they go elsewhere, which only the management API shows.
func TestCaseC6UnboundQueueThroughTheExchange(t *testing.T) {
	t.Parallel()
	s := newShop(t, 200, every(10)).with(map[string]string{"SYNC_MAX_ROUNDS": "1", "REPLAY_ROUTE": "exchange"})
	elsewhere := s.broker.DivertUnroutable()
	consumer := s.consumer()
	s.broker.Unbind(platform.ProductCreated)
	o := s.etl(t.Context(), "sync")
	if o.code != exitDifferences && o.code != exitService {
		t.Errorf("it ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	said := o.stdout + o.stderr
	if strings.Contains(said, "did not store") || !strings.Contains(said, "RABBITMQ_MANAGEMENT_URL") {
		t.Errorf("it claims what was not seen, or does not hint at what would show the cause:\n%s", said)
	}
	wantEvents(t, consumer, run.Replay, cart.Counts{})
	if n := s.broker.QueueStats(elsewhere).Ready; n > 20 {
		t.Errorf("%d events went elsewhere, want at most one for each product", n)
	}
}

// A run whose consumer goes before the first event waits for one, like at any later
// moment.
func TestCaseC13NoConsumerAtTheFirstEvent(t *testing.T) {
	t.Parallel()
	const lost = 20
	s := newShop(t, 200, none).with(map[string]string{"SYNC_SETTLE": "3s"})
	s.catalogue.SeedFresh(lost) // what settles gives the consumer the time to go
	first := s.consumer()
	sync := s.start(t.Context(), "sync")
	sync.awaitPhase(t, run.PhaseConfirming)
	first.Stop()
	select {
	case <-sync.ended:
		o := sync.wait()
		t.Fatalf("without a consumer the run ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	case <-time.After(5 * time.Second): // it has settled by now
	}
	if n := s.cart.Count(); n != 200 {
		t.Errorf("the cart has %d rows without a consumer", n)
	}
	second := s.consumer()
	sync.mustEnd(t, exitOK)
	wantEvents(t, second, run.Replay, cart.Counts{Inserted: lost})
	s.wantAgreement()
}
