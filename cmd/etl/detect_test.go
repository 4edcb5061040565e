package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// detecting are the variables of a service that looks for lost events often. The tap works by
// itself: what was never published is the other's to find.
func detecting(recent string) map[string]string {
	return map[string]string{"ETL_ROLES": "api,worker,scheduler,tap", "SYNC_RECENT_SCHEDULE": recent}
}

// announce inserts products that were created now, and publishes their events as the Product
// Service does.
func (s *shop) announce(n int) []platform.Product {
	s.tb.Helper()
	products := s.catalogue.SeedFresh(n)
	bodies := make([][]byte, len(products))
	for i, p := range products {
		bodies[i] = p.Event()
	}
	s.broker.Publish(rabbit.CreatedQueue, bodies...)
	return products
}

// tapping waits until the service has copies of the platform's events.
func (r *replica) tapping() {
	r.tb.Helper()
	testenv.Eventually(r.tb, watchFor, func() error {
		var d struct {
			Dependencies map[string]struct{ State, Detail string }
		}
		r.do(http.MethodGet, "/api/etl/health", "").decode(r.tb, &d)
		if tap := d.Dependencies["tap"]; tap.State != "up" {
			return fmt.Errorf("%+v", tap)
		}
		return nil
	}, "the tap")
}

// repairedByDetectors waits until no run of a detector is active, and returns how many products
// theirs have repaired.
func (r *replica) repairedByDetectors() (verified int64) {
	r.tb.Helper()
	var list struct{ Runs []struct{ ID string } }
	if a := r.do(http.MethodGet, "/api/etl/runs?trigger=detector", ""); a.status != http.StatusOK {
		r.tb.Fatalf("%d %s", a.status, a.body)
	} else {
		a.decode(r.tb, &list)
	}
	for _, one := range list.Runs {
		shown := r.ended(one.ID)
		if shown.Status != run.StatusSucceeded {
			r.tb.Errorf("a detector's run: %+v %+v", shown, shown.Report)
			continue
		}
		verified += shown.Report.Outcomes[run.Verified]
	}
	return verified
}

// wantInserted waits until the cart's consumer has counted an event for each new product, which it
// does after their rows are there, and insists that there was none beside.
func wantInserted(t *testing.T, events *cart.Consumer, products int) {
	t.Helper()
	testenv.Eventually(t, watchFor, func() bool { return events.Counts().Inserted >= products }, "the events to be counted")
	if n := events.Counts(); n.Inserted != products || n.Ignored != 0 {
		t.Errorf("%+v events for %d products", n, products)
	}
}

// Lost events are found and replayed without a scheduled run, in whichever way they were lost,
// each of them once, and none that was merely queued.
func TestLostEventsAreReplayedWithinAMinute(t *testing.T) {
	t.Parallel()
	const known, live, lost = 300, 40, 25
	slowly := func(c *cart.Config) { c.DelayPerEvent = 20 * time.Millisecond }
	for name, tt := range map[string]struct {
		recent string // "off" where the tap alone must find them
		lose   func(s *shop)
	}{
		"the queue was not bound": {"off", func(s *shop) {
			s.broker.Unbind(rabbit.CreatedQueue)
			s.announce(lost)
			s.broker.Bind(rabbit.CreatedQueue)
		}},
		"the queue was too short": {"off", func(s *shop) {
			testenv.Eventually(s.tb, watchFor, func() bool { return s.broker.QueueStats(rabbit.CreatedQueue).Ready == 0 }, "the queue to be empty")
			release := s.standstill()
			s.broker.LimitLength(rabbit.CreatedQueue, 5, "drop-head")
			s.announce(lost)
			s.broker.LimitLength(rabbit.CreatedQueue, 100_000, "drop-head")
			release()
		}},
		"they were never published": {"@every 1s", func(s *shop) { s.catalogue.SeedFresh(lost) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, known, none)
			events := s.consumer(slowly)
			r := s.serve(detecting(tt.recent)).ready()
			r.tapping()
			s.announce(live)
			tt.lose(s)
			s.announce(live)
			all := known + 2*live + lost
			testenv.Eventually(t, watchFor, func() bool { return s.cart.Count() == all }, "the lost events to be replayed")
			wantInserted(t, events, 2*live+lost)
			verified := r.repairedByDetectors()
			if verified == 0 || verified > lost {
				t.Errorf("%d events were replayed for %d that were lost", verified, lost)
			}
			s.wantAgreement()
			testenv.Eventually(t, watchFor, func() bool {
				return strings.Contains(r.do(http.MethodGet, "/metrics", "").body, fmt.Sprintf("etl_lost_event_seconds_count %d", verified))
			}, "how long they were lost")
		})
	}
}

// A consumer that acknowledges and stores nothing looks like one that works, to everybody but
// the tap.
func TestForgottenEventsAreReplayed(t *testing.T) {
	t.Parallel()
	const known, lost = 100, 30
	s := newShop(t, known, none)
	forgetful := s.consumer(func(c *cart.Config) { c.Forgetful = true })
	r := s.serve(detecting("off")).ready()
	r.tapping()
	s.announce(lost)
	testenv.Eventually(t, watchFor, func() bool { return s.broker.QueueStats(rabbit.CreatedQueue).Ready == 0 }, "the events to be forgotten")
	forgetful.Stop()
	events := s.consumer()
	testenv.Eventually(t, watchFor, func() bool { return s.cart.Count() == known+lost }, "the lost events to be replayed")
	wantInserted(t, events, lost)
	r.repairedByDetectors()
	s.wantAgreement()
}

// The status tells what detectors have done, to each as much as that person may see, and so
// does the doctor.
func TestDetectorsAreShown(t *testing.T) {
	t.Parallel()
	s := newShop(t, 20, none)
	s.consumer()
	r := s.serve(detecting("@every 1s")).ready()
	r.tapping()
	s.announce(5)
	type shown struct{ Detection run.Detection }
	testenv.Eventually(t, watchFor, func() error {
		var d shown
		r.do(http.MethodGet, "/api/etl/status", "").decode(t, &d)
		if of := d.Detection.Detectors; len(of) != 2 || of[0].Name != run.Recent || of[0].Mark.IsZero() || of[0].Owner == "" || of[1].Name != run.Tap || of[1].Checked != 5 || of[1].Problem != "" {
			return fmt.Errorf("%+v", d.Detection)
		}
		return nil
	}, "what the detectors did")
	a := r.do(http.MethodGet, "/metrics", "")
	for _, want := range []string{`etl_detector_products_total{detector="tap",what="checked"} 5`, `etl_detector_lag_seconds{detector="recent"}`, "etl_detections_pending 0", `etl_detector_failing{detector="tap"} 0`} {
		testenv.Eventually(t, watchFor, func() error {
			if a = r.do(http.MethodGet, "/metrics", ""); !strings.Contains(a.body, want) {
				return errors.New(a.body)
			}
			return nil
		}, want)
	}
	o := s.etl(t.Context(), "doctor")
	for _, want := range []string{"detector recent", "detector tap", "checked so far: 5, of which differed: 0"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("doctor does not say %q:\n%s", want, o.stdout)
		}
	}
}

// A scheduled run is not skipped for one of a detector, which is short.
func TestATickWaitsForADetectorsRun(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, none)
	events := s.consumer(slowly)
	env := detecting("@every 1s")
	env["SYNC_CRON_SCHEDULE"] = "*/5 * * * * *"
	r := s.serve(env).ready()
	r.tapping()
	for range 3 {
		s.catalogue.SeedFresh(20)
	}
	testenv.Eventually(t, watchFor, func() bool { return s.cart.Count() == 110 }, "the lost events to be replayed")
	r.repairedByDetectors()
	if n := s.number(`SELECT count(*) FROM etl_ledger.run r WHERE trigger = 'schedule' AND status = 'skipped' AND EXISTS (
		SELECT FROM etl_ledger.run d WHERE d.id = r.active_run AND d.trigger = 'detector')`); n != 0 {
		t.Errorf("%d scheduled runs were skipped for detectors", n)
	}
	wantInserted(t, events, 60)
}

// Within SYNC_FULL_EVERY of a complete comparison a tick looks at what is open, and only then.
func TestTicksBetweenCompleteComparisons(t *testing.T) {
	t.Parallel()
	s := newShop(t, 100, every(10))
	s.consumer()
	if o := s.etl(t.Context(), "migrate"); o.code != exitOK {
		t.Fatal(o.stderr)
	}
	if o := s.etl(t.Context(), "validate"); o.code == exitOK {
		t.Fatalf("nothing is missing: %s", o.stdout)
	}
	r := s.serve(map[string]string{"SYNC_CRON_SCHEDULE": "* * * * * *", "SYNC_FULL_EVERY": "1h"}).ready()
	testenv.Eventually(t, watchFor, func() bool { return s.cart.Count() == 100 }, "what was open to be repaired")
	var list struct{ Runs []struct{ ID string } }
	r.do(http.MethodGet, "/api/etl/runs?trigger=schedule", "").decode(t, &list)
	shown := r.ended(list.Runs[len(list.Runs)-1].ID)
	if shown.Report == nil || shown.Report.Products != 10 || shown.Report.Outcomes[run.Verified] != 10 {
		t.Errorf("the first tick looked at more, or less: %+v, %+v", shown.Record, shown.Report.Report)
	}
	testenv.Eventually(t, watchFor, func() bool {
		return strings.Contains(r.do(http.MethodGet, "/metrics", "").body, `etl_scheduler_ticks_total{job="sync",result="nothing_open"}`)
	}, "a tick that has nothing to look at")
}

// Replicas that are killed while events are lost lose nothing more, and bring nothing twice.
func TestDetectorsOutliveTheirReplicas(t *testing.T) {
	t.Parallel()
	const known, each = 100, 20
	s := newShop(t, known, none)
	events := s.consumer(slowly)
	env := detecting("@every 1s")
	env["ETL_LEASE"] = "5s"
	type one struct {
		*replica
		process *os.Process
	}
	var replicas []one
	begin := func() {
		r, process := s.serveApart(env)
		replicas = append(replicas, one{r.ready(), process})
	}
	for range 3 {
		begin()
	}
	replicas[0].tapping()
	all := known
	for range 3 {
		s.broker.Unbind(rabbit.CreatedQueue)
		s.announce(each)
		s.broker.Bind(rabbit.CreatedQueue)
		s.announce(each)
		all += 2 * each
		if err := replicas[0].process.Kill(); err != nil {
			t.Fatal(err)
		}
		replicas = replicas[1:]
		begin()
	}
	testenv.Eventually(t, 2*watchFor, func() bool { return s.cart.Count() == all }, "the lost events to be replayed")
	replicas[0].repairedByDetectors()
	wantInserted(t, events, all-known)
	s.wantAgreement()
}
