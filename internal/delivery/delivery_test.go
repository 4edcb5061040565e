package delivery

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
)

// looks are what is seen every ten seconds, of product-created; the other queues are well.
func looks(created ...rabbit.QueueState) []Look {
	all := make([]Look, len(created))
	for i, state := range created {
		all[i] = Look{At: time.Date(2026, 11, 26, 10, 0, 10*i, 0, time.UTC), Queues: map[string]rabbit.QueueState{
			rabbit.CreatedQueue: state, rabbit.UpdatedQueue: {Consumers: 1}, rabbit.DeletedQueue: {Consumers: 1},
		}}
	}
	return all
}

func state(ready, consumers int) rabbit.QueueState {
	return rabbit.QueueState{Ready: ready, Consumers: consumers}
}

func repeated(n int, states ...rabbit.QueueState) (all []rabbit.QueueState) {
	for range n {
		all = append(all, states...)
	}
	return all
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	bound := map[string]Route{rabbit.CreatedQueue: {Bound: true}, rabbit.UpdatedQueue: {Bound: true}, rabbit.DeletedQueue: {Bound: true}}
	cut := map[string]Route{rabbit.CreatedQueue: {}, rabbit.UpdatedQueue: {Bound: true}, rabbit.DeletedQueue: {By: "hub"}}
	with := func(routes map[string]Route, looks []Look) []Look {
		for i := range looks {
			looks[i].Routes = routes
		}
		return looks
	}
	poisoned := func(queue string, age time.Duration, looks []Look) []Look {
		for i := range looks {
			looks[i].Poison = Poison{Queue: queue, At: looks[0].At.Add(-age), Text: "an event for queue " + queue + " of 8 bytes cannot be read"}
		}
		return looks
	}
	failing := func(err error) []Look { return []Look{{At: time.Now(), Err: err}} }
	for name, tt := range map[string]struct {
		looks []Look
		state run.DeliveryState
		link  run.DeliveryLink
		text  string
		since string
	}{
		"nothing to do":                       {looks(state(0, 1)), run.Flowing, "", "", ""},
		"a queue that is worked off":          {looks(state(900, 1), state(800, 1), state(700, 1), state(650, 1), state(500, 1), state(400, 1), state(300, 1), state(200, 1)), run.Flowing, "", "", ""},
		"a cart that restarts":                {looks(state(0, 1), state(3, 0), state(5, 0)), run.Stalled, run.LinkConsumers, "5 events waiting, nobody consumes product-created: start the Cart Service", "10:00:10"},
		"and comes back":                      {looks(state(0, 1), state(3, 0), state(0, 1)), run.Flowing, "", "", ""},
		"a cart that stays away":              {looks(repeated(7, state(0, 0))...), run.Severed, run.LinkConsumers, "nobody consumes product-created", "10:00:00"},
		"a cart that dies of an event":        {looks(repeated(2, state(3, 1), state(4, 0))...), run.Severed, run.LinkHead, "the first event of the queue is probably one that the cart cannot store", "10:00:30"},
		"which holds it for a while":          {looks(repeated(2, state(1, 0), state(0, 1), state(1, 0))...), run.Severed, run.LinkHead, "consumers of product-created have gone 2 times while 1 event waited", "10:00:50"},
		"until it is gone":                    {looks(append(repeated(2, state(1, 0), state(0, 1), state(1, 0)), repeated(8, state(0, 1))...)...), run.Flowing, "", "", ""},
		"a cart that restarts without events": {looks(repeated(3, state(0, 1), state(0, 0), state(0, 1))...), run.Flowing, "", "", ""},
		"a consumer that takes nothing":       {looks(repeated(7, state(5, 1))...), run.Stalled, run.LinkQueue, "5 events waiting in product-created become no fewer since 2026-11-26T10:00:00Z", "10:01:00"},
		"an event that nobody can read": {poisoned(rabbit.CreatedQueue, time.Second, looks(state(0, 1), state(1, 0))), run.Severed, run.LinkHead,
			"an event for queue product-created of 8 bytes cannot be read, which came at 2026-11-26T09:59:59Z: remove it from the queue's head", "10:00:10"},
		"which the cart has survived":   {poisoned(rabbit.CreatedQueue, time.Second, looks(state(2, 1))), run.Flowing, "", "", ""},
		"and is gone":                   {poisoned(rabbit.CreatedQueue, time.Second, looks(state(0, 1), state(0, 0))), run.Stalled, run.LinkConsumers, "nobody consumes product-created", "10:00:10"},
		"of another queue":              {poisoned(rabbit.UpdatedQueue, time.Second, looks(state(0, 1), state(1, 0))), run.Stalled, run.LinkConsumers, "nobody consumes product-created", "10:00:10"},
		"and was long ago":              {poisoned(rabbit.CreatedQueue, time.Hour, looks(state(0, 1), state(1, 0))), run.Stalled, run.LinkConsumers, "nobody consumes product-created", "10:00:10"},
		"a binding that is there":       {with(bound, looks(state(0, 1))), run.Flowing, "", "", ""},
		"a binding that was deleted":    {with(cut, looks(state(0, 1), state(0, 1))), run.Severed, run.LinkBinding, "product-created is not bound to exchange product-service, so its events are dropped: restart the Cart Service", "10:00:00"},
		"a queue that is not there":     {failing(fmt.Errorf("queue product-created %w: start it", rabbit.ErrNotFound)), run.Severed, run.LinkQueue, "queue product-created", ""},
		"an exchange that is not there": {failing(fmt.Errorf("exchange product-service %w: start it", rabbit.ErrNotFound)), run.Severed, run.LinkExchange, "exchange product-service", ""},
		"a broker that is away":         {failing(errors.New("connection refused")), run.Unknown, run.LinkBroker, "connection refused", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var judge Judge
			var d run.Delivery
			for _, l := range tt.looks {
				d = judge.See(l)
			}
			if d.State != tt.state || d.Link != tt.link || !strings.Contains(d.Text, tt.text) || d.Since.IsZero() != (tt.link == "") {
				t.Errorf("%+v", d)
			}
			if tt.since != "" && d.Since.Format(time.TimeOnly) != tt.since {
				t.Errorf("since %s, want %s", d.Since, tt.since)
			}
			for _, q := range d.Queues {
				if known := tt.looks[0].Routes != nil; (q.Bound != nil) != known {
					t.Errorf("it claims %v of the binding of %s", q.Bound, q.Queue)
				}
			}
		})
	}
}
