package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
	"github.com/ecom-micro/etl/internal/testenv/platform"
)

// A run that waits says what for, since when, and until when, to whoever asks.
func TestCaseE3AWaitIsTold(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	r := s.serve(nil).ready()
	s.broker.Publish(platform.ProductCreated, s.products.Product(0).Event()) // and no cart consumes it
	shown := r.post("/api/etl/sync", `{"mode":"direct"}`)
	const event, since, until = "1 event waiting in product-created, 0 consumers since ", `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, `, given up at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	says := regexp.MustCompile(regexp.QuoteMeta(event) + since + until)
	for _, path := range []string{"/api/etl/status", "/api/etl/runs/" + shown.ID} {
		testenv.Eventually(t, watchFor, func() bool { return says.MatchString(r.do(http.MethodGet, path, "").body) }, path+" to tell the wait")
	}
	testenv.Eventually(t, watchFor, func() bool {
		return strings.Contains(s.said(t, exitOK, "runs", "show", shown.ID), event)
	}, "the terminal to tell the wait")
	s.said(t, exitOK, "runs", "cancel", shown.ID)
	if shown = r.ended(shown.ID); shown.Status != run.StatusCancelled {
		t.Errorf("it is %s", shown.Status)
	}
}

// A failure carries its cause and the remedy, in the terms of whoever asked for the run.
func TestCaseE4AFailureNamesItsRemedy(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	const why = "nobody consumes queue product-created: start the Cart Service, or restart it if it runs but lost its connection"
	wantAll(t, s.said(t, exitService, "sync"), why)
	r := s.serve(nil).ready()
	shown := r.ended(r.post("/api/etl/sync", `{}`).ID)
	if shown.Status != run.StatusFailed || !strings.Contains(shown.Error, why) {
		t.Errorf("it is %s: %s", shown.Status, shown.Error)
	}
	for _, path := range []string{"/api/etl/status", "/api/etl/runs/" + shown.ID} {
		if a := r.do(http.MethodGet, path, ""); !strings.Contains(a.body, why) {
			t.Errorf("%s does not say why: %s", path, a.body)
		}
	}
	wantAll(t, s.said(t, exitOK, "runs", "show", shown.ID), why)
}

// What was repaired is told as found, not as if it were still so.
func TestCaseE6WhatWasRepairedIsNoMoreMissing(t *testing.T) {
	t.Parallel()
	s := newShop(t, 40, every(4))
	s.consumer()
	said := s.said(t, exitOK, "sync")
	wantAll(t, said, "Repaired: 10 of 10 missing products verified in the cart", "found missing", "verified")
	if strings.Contains(said, "│ missing ") {
		t.Errorf("it says that products are missing:\n%s", said)
	}
}
