package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/servers"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/cart"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// A broker that ends in the middle of a replay and comes back: the run goes on or ends
// with a clear error, and then nothing is missing, there twice, or queued twice. What the
// broker never had is not called consumed.
func TestCaseF4ReplaySurvivesTheEndOfTheBroker(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*servers.Broker) error{
		"killed":  func(node *servers.Broker) error { return node.Kill() },
		"stopped": func(node *servers.Broker) error { return node.Stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, broker := testenv.PrivateBroker(t)
			s := newShopOn(t, broker, 4000, every(5))
			slowly := func(c *cart.Config) { c.Restart, c.DelayPerEvent = true, time.Millisecond }
			consumer := s.consumer(slowly)

			sync := s.start(t.Context(), "sync", "--output", "json")
			testenv.Eventually(t, time.Minute, func() bool { return consumer.Counts().Inserted > 200 }, "some events to be consumed")
			if err := end(node); err != nil {
				t.Fatal(err)
			}
			if err := node.Start(); err != nil {
				t.Fatal(err)
			}
			consumer.Stop() // one that the broker has said goodbye to lives on and consumes no more
			s.consumer(slowly)
			first := sync.wait()
			t.Logf("the first run ended with %d %s", first.code, strings.TrimSpace(first.stderr))
			if first.code == exitService && strings.TrimSpace(first.stderr) == "" {
				t.Error("the run failed and does not say why")
			}
			report := first.decoded(t)
			if said := note(report, run.NoteConsumed); said != nil {
				t.Errorf("all that was consumed is in the cart, and it says %q", said.Text)
			}
			for _, o := range report.Samples {
				if o.Code == run.ReasonConsumed {
					t.Errorf("%+v", o)
				}
			}
			s.notTwice("after the first run")
			s.mustSync(t.Context(), exitOK)
			s.wantComplete()
			s.notTwice("after the second run")
		})
	}
}

// notTwice checks that no product has more than one event of ours waiting. It takes a
// look at what is queued and puts it back.
func (s *shop) notTwice(when string) {
	s.tb.Helper()
	counts := make(map[any]int)
	s.broker.Do(func(ch *amqp.Channel) error {
		for {
			d, ok, err := ch.Get(platform.ProductCreated, false)
			if err != nil || !ok {
				return err // closing the channel requeues what was taken
			}
			if d.AppId == "etl" {
				counts[d.Headers["x-etl-product"]]++
			}
		}
	})
	for id, n := range counts {
		if n > 1 {
			s.tb.Errorf("%s the queue has %d events of ours of %s", when, n, id)
		}
	}
}

func TestInterruptedRunSaysWhatWasDone(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2000, every(2))
	consumer := s.consumer(func(c *cart.Config) { c.DelayPerEvent = 5 * time.Millisecond })
	p := s.command(t.Context(), "sync")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool { return consumer.Counts().Inserted > 20 }, "the first events to be consumed")
	if err := p.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	if code := p.ProcessState.ExitCode(); code != exitInterrupted {
		t.Errorf("it ended with %d, want %d", code, exitInterrupted)
	}
	if out := p.stdout.String(); !strings.Contains(out, "Interrupted after") || !strings.Contains(out, "in flight") {
		t.Errorf("the report does not say what was done:\n%s\n%s", out, &p.stderr)
	}
	s.mustSync(t.Context(), exitOK)
	s.wantComplete()
	if n := consumer.Counts().Ignored; n != 0 {
		t.Errorf("%d events were consumed twice", n)
	}
}

func TestKilledRunLosesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 2000, every(2))
	consumer := s.consumer(func(c *cart.Config) { c.DelayPerEvent = 2 * time.Millisecond })
	p := s.command(t.Context(), "sync")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool { return consumer.Counts().Inserted > 20 }, "the first events to be consumed")
	if err := p.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	s.mustSync(t.Context(), exitOK)
	s.wantComplete()
	if n := consumer.Counts().Ignored; n != 0 {
		t.Errorf("%d events were consumed twice", n)
	}
}

func TestOneRepairingRunAtATime(t *testing.T) {
	t.Parallel()
	s := newShop(t, 200, every(2))
	consumer := s.consumer(func(c *cart.Config) { c.DelayPerEvent = 50 * time.Millisecond })
	first := s.start(t.Context(), "sync")
	testenv.Eventually(t, time.Minute, func() bool { return consumer.Counts().Inserted > 0 }, "the first run to repair")
	second := s.etl(t.Context(), "sync", "--mode", "direct")
	if second.code != exitActive || !strings.Contains(second.stderr, "another repairing run is active") {
		t.Errorf("a second run ended with %d: %s", second.code, second.stderr)
	}
	if dry := s.etl(t.Context(), "sync", "--dry-run"); dry.code == exitActive {
		t.Error("a dry run was refused")
	}
	if o := first.wait(); o.code != exitOK {
		t.Errorf("the first run ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// The lock lives on its connection: without it another run may have begun.
func TestRunStopsWhenItsLockIsLost(t *testing.T) {
	t.Parallel()
	s := newShop(t, 400, every(2))
	consumer := s.consumer(func(c *cart.Config) { c.DelayPerEvent = 50 * time.Millisecond })
	sync := s.start(t.Context(), "sync")
	testenv.Eventually(t, time.Minute, func() bool { return consumer.Counts().Inserted > 0 }, "the run to repair")
	s.cart.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'etl lock' AND datname = current_database()")
	o := sync.wait()
	if o.code != exitService {
		t.Errorf("it ended with %d", o.code)
	}
	for _, want := range []string{"lock was lost", "handed back", "goes on with run"} {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("it does not say %q: %s", want, o.stderr)
		}
	}
}

func TestSuspiciousFindingsAreForAPerson(t *testing.T) {
	t.Parallel()
	s := newShop(t, 3000, func(i int) bool { return i%2 == 0 })
	s.consumer()
	stopped := s.mustSync(t.Context(), exitDifferences, "--mode", "direct")
	if stopped.Result != run.Stopped || stopped.Acted != 0 || stopped.Found[product.Missing] != 1500 {
		t.Errorf("half of the products are missing, and the run is %+v", stopped)
	}
	if notes := notes(stopped); !strings.Contains(notes, "--max-repairs 1500") {
		t.Errorf("the notes do not name the remedy: %q", notes)
	}
	limited := s.mustSync(t.Context(), exitDifferences, "--mode", "direct", "--max-repairs", "1000")
	if limited.Outcomes[run.Verified] != 1000 || limited.Outcomes[run.Skipped] != 500 {
		t.Errorf("with a limit of 1,000: %v", limited.Outcomes)
	}
	s.mustSync(t.Context(), exitOK, "--mode", "direct", "--max-repairs", "500")
	s.wantComplete()
}

func TestStoresThatShareNothingAreNotRepaired(t *testing.T) {
	t.Parallel()
	s := newShop(t, 50, func(int) bool { return true })
	s.consumer()
	s.cart.Insert(testenv.Row{ID: "of another shop", Title: "t", Image: "i", SellerID: "s"})
	report := s.mustSync(t.Context(), exitDifferences, "--mode", "direct")
	if report.Result != run.Stopped || !strings.Contains(notes(report), "share no product") {
		t.Errorf("%s: %v", report.Result, report.Notes)
	}
}

// A product that is deleted between its repair's last read and the row's arrival
// comes back to life; exactly that row is taken back.
func TestDeletedMeanwhileIsUndone(t *testing.T) {
	t.Parallel()
	s := newShop(t, 300, every(3))
	s.consumer(func(c *cart.Config) { c.DelayPerEvent = 20 * time.Millisecond })
	sync := s.start(t.Context(), "sync", "--output", "json")
	// All events are published before a few of them are consumed.
	testenv.Eventually(t, time.Minute, func() bool { return s.broker.QueueStats(platform.ProductCreated).Ready > 80 }, "the events to be queued")
	victim := s.products.Product(297)
	s.catalogue.Delete(victim.ID)
	o := sync.wait()
	if o.code != exitOK || !strings.Contains(o.stdout, `"undone": 1`) {
		t.Errorf("it ended with %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	if _, there := s.cart.Row(victim.ID.Hex()); there {
		t.Error("the deleted product's row is still there")
	}
	if n := s.cart.Count(); n != 299 {
		t.Errorf("the cart has %d rows, want 299", n)
	}
}
