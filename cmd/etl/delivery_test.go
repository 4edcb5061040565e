package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
	"github.com/ecom-micro/etl/internal/testenv"
)

// What keeps events from the cart is seen by doctor, health, status, the scheduled check and
// the metrics alike, and heals when it is mended.
func TestCaseE1WhatKeepsEventsFromTheCart(t *testing.T) {
	t.Parallel()
	deleted := func(s *shop) {
		s.broker.Do(func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete(rabbit.CreatedQueue, false, false, false)
			return err
		})
	}
	for name, tt := range map[string]struct {
		managed       bool
		fault, mend   func(s *shop)
		state         run.DeliveryState
		link          run.DeliveryLink
		text, doctors string
	}{
		"the binding is deleted": {true, func(s *shop) { s.broker.Unbind(rabbit.CreatedQueue) }, func(s *shop) { s.broker.Bind(rabbit.CreatedQueue) },
			run.Severed, run.LinkBinding, "product-created is not bound to exchange product-service, so its events are dropped: restart the Cart Service, which binds it", "FAIL  bindings"},
		"the queue is deleted": {false, deleted, func(s *shop) { s.broker.DeclareTopology() },
			run.Severed, run.LinkQueue, "queue product-created does not exist", "FAIL  broker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, 8, none)
			if tt.managed {
				s = s.with(map[string]string{"RABBITMQ_MANAGEMENT_URL": s.broker.Management})
			}
			s.consumer()
			r := s.serve(map[string]string{"HEALTH_CHECK_CRON_SCHEDULE": "* * * * * *"}).ready()
			var health struct {
				Status    string
				Delivery  run.Delivery
				LastCheck struct {
					Healthy bool
					Found   struct{ Delivery run.Delivery }
				}
			}
			delivered := func(code int, state run.DeliveryState) {
				t.Helper()
				testenv.Eventually(t, watchFor, func() bool {
					a := r.do(http.MethodGet, "/api/etl/health", "")
					return a.status == code && json.Unmarshal([]byte(a.body), &health) == nil && health.Delivery.State == state &&
						health.LastCheck.Found.Delivery.State == state && health.LastCheck.Healthy == (code == http.StatusOK)
				}, "health and the scheduled check to say "+string(state))
			}
			delivered(http.StatusOK, run.Flowing)
			if bound := health.Delivery.Queues[0].Bound; (bound != nil) != tt.managed {
				t.Errorf("it claims %v of the binding", bound)
			}
			tt.fault(s)
			delivered(http.StatusServiceUnavailable, tt.state)
			if d := health.Delivery; d.Link != tt.link || !strings.Contains(d.Text, tt.text) || d.Since.IsZero() {
				t.Errorf("%+v", d)
			}
			if o := s.etl(t.Context(), "doctor"); o.code != exitService || !strings.Contains(o.stdout, tt.doctors) || !strings.Contains(o.stdout, tt.text) {
				t.Errorf("doctor ended with %d:\n%s", o.code, o.stdout)
			}
			testenv.Eventually(t, watchFor, func() bool {
				return strings.Contains(r.do(http.MethodGet, "/api/etl/status", "").body, tt.text) &&
					strings.Contains(r.do(http.MethodGet, "/metrics", "").body, `etl_delivery_state{state="broken"} 1`)
			}, "status and metrics to say it")
			tt.mend(s)
			if tt.link == run.LinkQueue {
				s.consumer()
			}
			delivered(http.StatusOK, run.Flowing)
		})
	}
}

// A cart that is away, and one that dies of the first event again and again.
func TestCaseE1TheCartIsAwayOrDies(t *testing.T) {
	t.Parallel()
	s := newShop(t, 8, none)
	r := s.serve(nil).ready()
	var health struct{ Delivery run.Delivery }
	link := func(want run.DeliveryLink) {
		t.Helper()
		testenv.Eventually(t, watchFor, func() bool {
			a := r.do(http.MethodGet, "/api/etl/health", "")
			return json.Unmarshal([]byte(a.body), &health) == nil && health.Delivery.Link == want
		}, "health to name the "+string(want))
	}
	link(run.LinkConsumers)
	s.broker.Publish(rabbit.CreatedQueue, []byte(`{"id": null}`)) // which kills the real consumer
	testenv.Eventually(t, watchFor, func() bool {
		a := r.do(http.MethodGet, "/api/etl/health", "")
		return json.Unmarshal([]byte(a.body), &health) == nil && strings.Contains(health.Delivery.Text, "1 event waiting, nobody consumes product-created")
	}, "health to see the event")
	for range 2 { // a cart that starts, takes it, and dies
		conn, err := amqp.Dial(s.broker.URL)
		if err != nil {
			t.Fatal(err)
		}
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ch.Consume(rabbit.CreatedQueue, "", false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		consumers := func(want int) {
			t.Helper()
			testenv.Eventually(t, watchFor, func() bool {
				a := r.do(http.MethodGet, "/api/etl/health", "")
				return json.Unmarshal([]byte(a.body), &health) == nil && len(health.Delivery.Queues) > 0 && health.Delivery.Queues[0].Consumers == want
			}, "health to see the consumer come or go")
		}
		consumers(1)
		_ = conn.Close()
		consumers(0)
	}
	link(run.LinkHead)
	if d := health.Delivery; d.State != run.Severed || !strings.Contains(d.Text, "consumers of product-created have gone 2 times while 1 event waited") {
		t.Errorf("%+v", d)
	}
}
