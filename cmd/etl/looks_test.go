package main

import (
	"regexp"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

var runShown = regexp.MustCompile(`(?m)^run (\S+)$`)

// A look from the terminal is kept where there is a ledger, and what it found is applied.
func TestALookFromTheTerminalIsApplied(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"validate"}, {"sync", "--dry-run"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 40, every(4))
			s.consumer()
			s.serve(nil).ready()
			found := runShown.FindStringSubmatch(s.said(t, exitDifferences, args...))
			if found == nil {
				t.Fatal("no run is named")
			}
			id := found[1]
			wantAll(t, s.said(t, exitOK, "runs", "list"), id, "comparison by cli", "partial (apply)")
			wantAll(t, s.said(t, exitOK, "runs", "products", id, "--kind", "missing"), s.products.Key(0), s.products.Key(36))
			wantAll(t, s.said(t, exitOK, "runs", "apply", id, "--wait"), "Repaired: 10 of 10 missing products verified in the cart")
			s.wantComplete()
		})
	}
}

// A ledger that is not there, or cannot be written, or is taken by another look, is no
// obstacle to a look.
func TestALookNeedsNoLedger(t *testing.T) {
	t.Parallel()
	unkept := func(t *testing.T, s *shop, why ...string) {
		t.Helper()
		said := s.said(t, exitDifferences, "validate")
		wantAll(t, said, append(why, "this look is not kept, so it cannot be applied: ", "Differences found: 10 missing")...)
		if found := runShown.FindStringSubmatch(said); found != nil {
			t.Errorf("run %s is named, which nobody can find", found[1])
		}
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, 40, every(4))
		s.consumer()
		unkept(t, s, "there is no ledger yet", "`etl migrate`")
		if n := s.number(`SELECT count(*) FROM pg_namespace WHERE nspname = 'etl_ledger'`); n > 0 {
			t.Error("a look has created the ledger's schema")
		}
	})
	t.Run("read only", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, 40, every(4))
		s.consumer()
		s.said(t, exitOK, "migrate")
		url := s.cart.Role("USAGE ON SCHEMA public, etl_ledger", "SELECT ON ALL TABLES IN SCHEMA public", "SELECT ON ALL TABLES IN SCHEMA etl_ledger")
		unkept(t, s.with(map[string]string{"CART_DB_URL": url}), "permission denied")
	})
	t.Run("another look", func(t *testing.T) {
		t.Parallel()
		s := newShop(t, 40, every(4))
		s.consumer()
		s.said(t, exitOK, "migrate")
		const other = "0192f0c1-2d3e-7a4b-8c5d-6e7f80910a1b"
		s.cart.Exec(`INSERT INTO etl_ledger.run (id, pipeline, slot, trigger, mode, dry_run, whole, request, brief, requested_at, status, started_at, owner, fence, lease_until)
			VALUES ($1, 'products', 'look', 'cli', 'replay', true, true, '{"id":"`+other+`","trigger":"cli","mode":"replay","dryRun":true}', '{}', now(), 'running', now(), 'somebody', 1, now() + interval '1 hour')`, other)
		unkept(t, s, other)
	})
}

// A look whose process is killed is taken over by the service.
func TestAKilledLookGoesOn(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.consumer()
	s.serve(nil).ready()
	release := s.standstill()
	s.broker.Publish(platform.ProductCreated, s.products.Product(0).Event()) // which the look waits for
	p := s.command(t.Context(), "sync", "--dry-run")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	const looks = `SELECT count(*) FROM etl_ledger.run WHERE trigger = 'cli' AND `
	testenv.Eventually(t, watchFor, func() bool { return s.number(looks+"status = 'running'") == 1 }, "the look to be under way")
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	release()
	testenv.Eventually(t, time.Minute, func() bool { return s.number(looks+"status = 'partial' AND fence = 2") == 1 }, "the service to finish the look")
	wantAll(t, s.said(t, exitOK, "runs", "list"), "9 missing")
}

// A look at ids alone finds what is missing and orphaned, and is no proof of the rest.
func TestALookAtIDsAlone(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.consumer()
	s.said(t, exitOK, "migrate")
	s.cart.Exec(`UPDATE product SET title = 'another' WHERE id = $1`, s.products.Key(1))
	s.cart.Exec(`INSERT INTO product VALUES ('nobody-sells-this', 't', 1, 'i', 's', 1)`)
	said := s.said(t, exitDifferences, "validate", "--fields", "none")
	wantAll(t, said, "Differences found: 10 missing, 0 stale, 1 orphaned", "this look is not kept", "SYNC_COMPARE_FIELDS")
	if n := s.number("SELECT count(*) FROM etl_ledger.run"); n > 0 {
		t.Errorf("the ledger has %d runs", n)
	}
	wantAll(t, s.said(t, exitDifferences, "validate", "--fields", "price"), "10 missing, 0 stale, 1 orphaned")
	wantAll(t, s.said(t, exitDifferences, "validate", "--fields", "price,title"), "10 missing, 1 stale, 1 orphaned")
}
