package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/ecom-micro/etl/internal/testenv/cart"
)

// BenchmarkBeside is what the cart's own work feels of ours: how long transactions on its table
// take while a comparison runs beside them, and live events until they are rows while 20,000
// others are replayed.
func BenchmarkBeside(b *testing.B) {
	products := benchProducts(b)
	const lost = 20_000
	w := benchShop(b, products, none)
	for p := range w.products.Where(every(max(products/lost, 2))) {
		w.keys = append(w.keys, p.ID.Hex())
	}
	gentle := w.with(map[string]string{"SYNC_SCAN_RATE": "50000"})
	b.Run("comparison", func(b *testing.B) {
		for b.Loop() {
			w.beside(b, map[string]func(context.Context){
				"alone":  nil,
				"plain":  func(ctx context.Context) { _ = w.read(ctx) }, // or it was ended
				"full":   func(ctx context.Context) { _ = w.command(ctx, "sync", "--dry-run").Run() },
				"gentle": func(ctx context.Context) { _ = gentle.command(ctx, "sync", "--dry-run").Run() },
			})
		}
	})
	b.Run("replay", func(b *testing.B) {
		for b.Loop() {
			w.besideReplay(b, 100, len(w.keys), 0)
		}
	})
	// As fast as the platform's own consumer, which leaves little room.
	w.consumer.Stop()
	b.Run("slowreplay", func(b *testing.B) {
		w.consumer = w.shop.consumer(func(c *cart.Config) { c.DelayPerEvent = cart.RealDelay })
		for b.Loop() {
			w.besideReplay(b, 50, 2_000, 0)
			w.besideReplay(b, 50, 2_000, 50)
		}
	})
}

// read drains both stores at once, as the plain side of a comparison does.
func (w *rawWork) read(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.scan(ctx, rawScanFields, 5_000, w.products.N) })
	group.Go(func() error { return w.drain(ctx, w.products.N, rawSelect+"product ORDER BY id") })
	return group.Wait()
}

// beside measures transactions on the cart's table beside each work, which is begun again
// until ten seconds are over.
func (w *rawWork) beside(b *testing.B, works map[string]func(context.Context)) {
	b.Helper()
	for name, work := range works {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		var other sync.WaitGroup
		if work != nil {
			other.Go(func() {
				for ctx.Err() == nil {
					work(ctx)
				}
			})
		}
		took := w.transactions(ctx, b)
		cancel()
		other.Wait()
		report(b, name, took)
	}
}

// transactions are what the cart does for its customers: five products are looked up by id,
// and one is written. They begin 200 times a second, whatever became of those before, and each takes
// from when it was due.
func (w *rawWork) transactions(ctx context.Context, b *testing.B) []time.Duration {
	b.Helper()
	const each = 5 * time.Millisecond
	var mu sync.Mutex
	var took []time.Duration
	var under sync.WaitGroup
	for due := time.Now(); ctx.Err() == nil; due = due.Add(each) {
		time.Sleep(time.Until(due))
		under.Go(func() {
			ids := make([]string, 5)
			for i := range ids {
				ids[i] = w.keys[rand.IntN(len(w.keys))]
			}
			err := pgx.BeginFunc(context.WithoutCancel(ctx), w.cart.Pool, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "SELECT title, price FROM product WHERE id = ANY($1)", ids); err != nil {
					return err
				}
				_, err := tx.Exec(ctx, "UPDATE product SET quantity = quantity WHERE id = $1", ids[0])
				return err
			})
			if err != nil && ctx.Err() == nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
		})
	}
	under.Wait()
	return took
}

// besideReplay measures so many live events a second, from their creation until they are rows:
// alone for ten seconds, and while so many others are replayed at a depth, 0 for the default.
func (w *rawWork) besideReplay(b *testing.B, rate, replayed, depth int) {
	b.Helper()
	name := "replay"
	s := w.shop
	if depth > 0 {
		name += strconv.Itoa(depth)
		s = s.with(map[string]string{"REPLAY_MAX_QUEUE_DEPTH": strconv.Itoa(depth)})
	} else {
		end := time.Now().Add(10 * time.Second)
		report(b, "alone", w.live(b, rate, func() bool { return time.Now().After(end) }))
	}
	w.cart.Exec("DELETE FROM product WHERE id = ANY($1)", w.keys[:replayed])
	ended := make(chan error, 1)
	var over bool
	go func() {
		ended <- s.command(b.Context(), "sync", "--max-repairs", strconv.Itoa(w.products.N), "--output", "json").Run()
	}()
	report(b, name, w.live(b, rate, func() bool {
		select {
		case err := <-ended:
			over = true
			if err != nil {
				b.Errorf("the replay: %v", err)
			}
		default:
		}
		return over
	}))
}

// live announces new products until done, and returns how long each needed to become a row, as
// seen by a look every 10 ms.
func (w *rawWork) live(b *testing.B, rate int, done func() bool) (took []time.Duration) {
	b.Helper()
	waiting := make(map[string]time.Time)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	due := time.Now()
	for ending := false; !ending || len(waiting) > 0; <-look.C {
		if ending = ending || done(); !ending && time.Now().After(due) {
			n := max(rate/20, 1)
			due = due.Add(time.Duration(n) * time.Second / time.Duration(rate))
			now := time.Now()
			for _, p := range w.announce(n) {
				waiting[p.ID.Hex()] = now
			}
		}
		for _, id := range w.arrived(waiting) {
			took = append(took, time.Since(waiting[id]))
			delete(waiting, id)
		}
	}
	return took
}

// arrived are those that are rows by now.
func (w *rawWork) arrived(waiting map[string]time.Time) []string {
	w.tb.Helper()
	ids := make([]string, 0, len(waiting))
	for id := range waiting {
		ids = append(ids, id)
	}
	rows, err := w.cart.Pool.Query(w.tb.Context(), "SELECT id FROM product WHERE id = ANY($1)", ids)
	if err != nil {
		w.tb.Fatal(err)
	}
	there, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.tb.Fatal(err)
	}
	return there
}

// report shows how long something took beside a work.
func report(b *testing.B, beside string, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	at := func(share float64) float64 {
		return took[int(share*float64(len(took)-1))].Seconds() * 1000
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(at(0.50), beside+"-p50-ms")
	b.ReportMetric(at(0.99), beside+"-p99-ms")
}
