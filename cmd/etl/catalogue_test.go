package main

import (
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv/cart"
)

// A product that no partition takes, or that a partition's constraint refuses, is blocked,
// in both modes. An event for it would kill the cart's consumer.
func TestCaseA10PartitionedCart(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode run.Mode) {
		const n = 60
		s := newShop(t, n, func(int) bool { return true })
		// The partitions have no place for the last ids, and one refuses a price.
		last, refused := s.products.Key(n-1), s.products.Key(n-2)
		s.cart.Exec(`ALTER TABLE product RENAME TO plain; CREATE TABLE product (LIKE plain, PRIMARY KEY (id)) PARTITION BY RANGE (id);
			CREATE TABLE product_first PARTITION OF product FOR VALUES FROM (MINVALUE) TO ('` + refused + `');
			CREATE TABLE product_second PARTITION OF product (CONSTRAINT free CHECK (price = 0)) FOR VALUES FROM ('` + refused + `') TO ('` + last + `')`)
		consumer := s.consumer()
		doctor := s.etl(t.Context(), "doctor")
		if !strings.Contains(doctor.stdout, "checked before a repair: partition bounds, check constraint free") {
			t.Errorf("doctor says\n%s", doctor.stdout)
		}
		report := s.mustSync(t.Context(), exitDifferences, "--mode", string(mode))
		wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: n - 2, run.Blocked: 2})
		wantReason(t, report, last, product.Missing, run.ReasonMisfit, "the bounds of all partitions of public.product")
		wantReason(t, report, refused, product.Missing, run.ReasonMisfit, "the check constraint (price = 0) of public.product_second")
		wantEvents(t, consumer, mode, cart.Counts{Inserted: n - 2})
	})
}

// What only the database can judge forbids a replay of the kinds that it is asked for, by
// name; a comparison and direct writes go on. What does not fire for the cart's consumer
// forbids nothing.
func TestCaseB6TriggersForbidReplay(t *testing.T) {
	t.Parallel()
	s := newShop(t, 20, every(10))
	s.cart.Exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'closed'; END $$;
		CREATE TRIGGER refuse AFTER INSERT ON product FOR EACH ROW EXECUTE FUNCTION refuse()`)
	consumer := s.consumer()
	refused := s.etl(t.Context(), "sync")
	if refused.code == exitOK || !strings.Contains(refused.stderr, "trigger refuse") || !strings.Contains(refused.stderr, "direct") {
		t.Errorf("it ended with %d\n%s%s", refused.code, refused.stdout, refused.stderr)
	}
	if doctor := s.etl(t.Context(), "doctor"); !strings.Contains(doctor.stdout, "only the database can judge trigger refuse, so what is missing is not replayed") {
		t.Errorf("doctor says\n%s", doctor.stdout)
	}
	found := s.mustSync(t.Context(), exitDifferences, "--dry-run")
	wantOutcomes(t, found, product.Missing, map[run.State]int64{run.Found: 2})
	blocked := s.mustSync(t.Context(), exitDifferences, "--mode", "direct")
	wantOutcomes(t, blocked, product.Missing, map[run.State]int64{run.Blocked: 2})
	s.cart.Exec("ALTER TABLE product ENABLE REPLICA TRIGGER refuse")
	report := s.mustSync(t.Context(), exitOK)
	wantOutcomes(t, report, product.Missing, map[run.State]int64{run.Verified: 2})
	wantEvents(t, consumer, run.Replay, cart.Counts{Inserted: 2})
}
