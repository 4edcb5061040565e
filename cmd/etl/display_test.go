package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// steps is a run that is as far as it was told.
type steps struct {
	mu sync.Mutex
	at run.Progress
}

func (s *steps) Progress() run.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *steps) set(at run.Progress) {
	s.mu.Lock()
	s.at = at
	s.mu.Unlock()
	time.Sleep(time.Second)
}

// Lines count products, however often one of them is repaired, and say what is
// waited for.
func TestCaseE15LinesCountProducts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		engine := &steps{}
		d := newDisplay(terminal{err: &out}, outputText, engine.Progress, run.Kinds{product.Missing})
		d.start()
		time.Sleep(redrawInterval / 2) // between two looks
		engine.set(run.Progress{Phase: run.PhasePlanning})
		engine.set(run.Progress{Phase: run.PhaseComparing, Compared: 2_000, Total: 20_000, Found: map[product.Kind]int64{product.Missing: 100}})
		found := map[product.Kind]int64{product.Missing: 1158, product.Stale: 3}
		engine.set(run.Progress{Phase: run.PhaseRepairing, Compared: 20_000, Total: 20_000, Scanned: true, Found: found, Acted: 1836, Verified: 678, Attempts: 2})
		engine.set(run.Progress{Phase: run.PhaseRepairing, Compared: 20_000, Total: 20_000, Scanned: true, Found: found, Acted: 1836, Verified: 678, Attempts: 2, Throttle: "the queue is full"})
		engine.set(run.Progress{Phase: run.PhaseProving, Compared: 20_000, Total: 20_000, Scanned: true, Found: found, Acted: 1836, Verified: 1158, Attempts: 2,
			Waits: []run.Wait{{Kind: product.Missing, Products: 1, Reason: run.Reason{Code: run.ReasonQueue, Ready: 1}}}})
		engine.set(run.Progress{Phase: run.PhaseDone})
		d.stop()
		want := []string{
			"comparing: 2,000 of 20,000 products compared, 1,818/s, ETA 10s, 100 missing",
			"repairing: 678 of 1,158 products verified, 1,158 missing, 3 stale, attempt 2",
			"repairing: 678 of 1,158 products verified, 1,158 missing, 3 stale, attempt 2, publishing pauses: the queue is full",
			"proving: 1,158 of 1,158 products verified, 240/s, 1,158 missing, 3 stale, attempt 2, 1 missing waits: 1 event waiting in product-created, 0 consumers",
		}
		if got := strings.TrimSpace(out.String()); got != strings.Join(want, "\n") {
			t.Errorf("\n got %s\nwant %s", got, strings.Join(want, "\n     "))
		}
	})
}
