package api_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ecom-micro/etl/api"
	"github.com/ecom-micro/etl/internal/product"
	"github.com/ecom-micro/etl/internal/run"
)

// proved is a ledger with one look by which the stores agree, three minutes old.
func (s *service) proved(products, rows, orphaned, inFlight int64) {
	s.looked(func(r *run.Record) {
		r.Finished = time.Now().Add(-3 * time.Minute)
		r.Report.Products, r.Report.Rows, r.Report.Found = products, rows, nil
		r.Report.ByKind = map[product.Kind]map[run.State]int64{product.Missing: {run.InFlight: inFlight}, product.Orphaned: {run.Found: orphaned}}
	})
}

func TestCaseE2CountsContradictAProof(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		products, rows, orphaned, inFlight int64 // as the look found them
		nowProducts, nowRows, recent       int64
		waiting                            int
		drift                              any // nil: the proof stands
	}{
		"nothing has changed":                   {10_000, 10_000, 0, 0, 10_000, 10_000, 0, 0, nil},
		"both have grown":                       {10_000, 10_000, 0, 0, 12_000, 12_000, 0, 0, nil},
		"rows were lost":                        {10_000, 10_000, 0, 0, 10_000, 4_000, 0, 0, 6_000.0},
		"one row was lost":                      {100, 100, 0, 0, 100, 99, 0, 0, 1.0},
		"products came, their events did not":   {100, 100, 0, 0, 107, 100, 5, 1, 7.0},
		"products have just come":               {100, 100, 0, 0, 107, 100, 7, 0, nil},
		"their events wait":                     {100, 100, 0, 0, 107, 100, 0, 7, nil},
		"deletions did not reach the cart":      {100, 100, 0, 0, 90, 100, 0, 0, -10.0},
		"orphaned rows that the look has found": {100, 103, 3, 0, 100, 103, 0, 0, nil},
		"orphaned rows were repaired":           {100, 103, 3, 0, 100, 100, 0, 0, 3.0},
		"what was in flight has arrived":        {100, 98, 0, 2, 100, 100, 0, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := setup(t)
				s.proved(c.products, c.rows, c.orphaned, c.inFlight)
				s.counts.Products, s.counts.Rows, s.counts.Recent = c.nowProducts, c.nowRows, c.recent
				s.counts.Queues = map[string]api.QueueStatistics{"product-created": {Ready: c.waiting}}
				valid := c.drift == nil && c.orphaned == 0 && c.inFlight == 0
				a := s.do("GET", "/api/etl/validate", "").want(200).wantFields(map[string]any{"isValid": valid, "productSync.isValid": valid, "age": 180.0})
				// The status shows what was counted last.
				b := s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": valid})
				if c.drift == nil {
					a.without("contradictedBy")
					b.without("contradictedBy")
					s.do("GET", "/api/etl/validate?maxAge=5m", "", "Prefer", "wait=0").want(200)
					return
				}
				a.want(200, "maxAge=0s compares them now").wantFields(map[string]any{"contradictedBy.drift": c.drift,
					"contradictedBy.sourceCount": float64(c.nowProducts), "contradictedBy.targetCount": float64(c.nowRows)})
				b.wantFields(map[string]any{"productSync.validation.contradictedBy.drift": c.drift})
				// It is no proof, however young.
				s.do("HEAD", "/api/etl/validate?maxAge=5m", "").want(http.StatusNotFound)
				s.do("GET", "/api/etl/validate?maxAge=5m", "", "Prefer", "wait=0").want(http.StatusAccepted)
			})
		})
	}
}

func TestCaseE2WhatTheCountsDoNotTell(t *testing.T) {
	t.Parallel()
	t.Run("a store is away", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.proved(100, 100, 0, 0)
		s.broken["Statistics"] = errors.New("away")
		s.do("GET", "/api/etl/validate", "").want(200).without("contradictedBy").wantFields(map[string]any{"isValid": true, "age": 180.0})
		s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": true})
	})
	t.Run("they are older than the proof", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			s.counts.Products, s.counts.Rows = 100, 50
			s.do("GET", "/api/etl/stats", "").want(200)
			time.Sleep(time.Second) // what is known of the ledger is shared meanwhile
			s.looked(func(r *run.Record) {
				r.Finished, r.Report.Products, r.Report.Rows, r.Report.ByKind = time.Now(), 100, 100, nil
			})
			s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": true})
		})
	})
	t.Run("they are counted anew when they are due, and status waits for none", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := setup(t)
			s.proved(100, 100, 0, 0)
			s.counts.Products, s.counts.Rows, s.counts.Queues = 100, 50, nil
			s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": true})
			synctest.Wait()
			s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": false})
			time.Sleep(2 * time.Second)
			s.counts.Rows = 100
			s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": false})
			synctest.Wait()
			s.do("GET", "/api/etl/status", "").want(200).wantFields(map[string]any{"productSync.validation.isValid": true})
		})
	})
}
