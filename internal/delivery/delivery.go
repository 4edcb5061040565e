// Package delivery judges whether events of the Product Service can reach the cart now:
// exchange, binding, queue, consumers, and the event at the head of the queue. It only looks.
package delivery

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecom-micro/etl/internal/rabbit"
	"github.com/ecom-micro/etl/internal/run"
)

const (
	// Grace is how long a queue may be without a consumer, or its first event wait, before
	// that is more than a restart of the cart.
	Grace = time.Minute
	// deaths of consumers while events wait say that the first of them kills each; they are
	// counted for memory.
	deaths = 2
	memory = 15 * time.Minute
)

// Route is how events come to a queue, as the management API tells.
type Route struct {
	Bound bool
	// By is an exchange in between, whose keys were not looked at; empty where there is none.
	By string
	// Others are the bindings that bring what the cart would take for its kind of event.
	Others []rabbit.Binding
	// Alternate is the exchange that takes what no queue is bound for.
	Alternate string
}

// RouteTo finds the way to a queue among the bindings that lead away from the cart's exchange
// and those that lead to the queue.
func RouteTo(queue string, exchange rabbit.ExchangeDetails, away, to []rabbit.Binding) Route {
	r := Route{Alternate: exchange.Alternate}
	for _, b := range to {
		switch {
		case b.Exchange == rabbit.Exchange && b.Key == queue:
			r.Bound = true
		case slices.ContainsFunc(away, func(a rabbit.Binding) bool { return a.ToExchange() && a.Destination == b.Exchange }):
			r.By = b.Exchange
		default:
			r.Others = append(r.Others, b)
		}
	}
	return r
}

// Unbound says that nothing brings events to the queue, empty where something does.
func (r Route) Unbound(queue string) string {
	if r.Bound || r.By != "" {
		return ""
	}
	fate := "are dropped"
	if r.Alternate != "" {
		fate = "go to exchange " + r.Alternate
	}
	return fmt.Sprintf("%s is not bound to exchange %s, so its events %s: restart the Cart Service, which binds it", queue, rabbit.Exchange, fate)
}

// Deserted says that nobody consumes a queue in which so many events wait.
func Deserted(queue string, ready int, waiting string) string {
	if ready > 0 {
		return fmt.Sprintf("%s, nobody consumes %s: start the Cart Service; if it keeps dying, the first event of the queue is one that it cannot store", waiting, queue)
	}
	return fmt.Sprintf("nobody consumes %s: start the Cart Service, or restart it if it runs but lost its connection", queue)
}

// Look is what one look at the broker showed.
type Look struct {
	At time.Time
	// Err says that the broker does not answer, or what it lacks.
	Err error
	// Queues are the cart's, by name.
	Queues map[string]rabbit.QueueState
	// Routes are the ways to them, nil where the management API is not used or silent.
	Routes map[string]Route
	// Poison is the last event that was announced and that no consumer can read, its zero value
	// where none was seen.
	Poison Poison
}

// Poison is an event that a consumer cannot read.
type Poison struct {
	Queue string
	At    time.Time
	Text  string // what it looks like
}

// history is what earlier looks showed of one queue.
type history struct {
	consumers int
	ready     int
	idle      time.Time   // without a consumer since
	waiting   time.Time   // events wait, and they have not become fewer since
	empty     time.Time   // no event waits since
	deaths    []time.Time // moments at which a consumer left while events waited
}

func (h *history) saw(at time.Time, s rabbit.QueueState) {
	if s.Consumers < h.consumers && (s.Ready > 0 || h.ready > 0) {
		h.deaths = append(h.deaths, at)
	}
	h.deaths = slices.DeleteFunc(h.deaths, func(t time.Time) bool { return at.Sub(t) > memory })
	switch {
	case s.Consumers > 0:
		h.idle = time.Time{}
	case h.idle.IsZero():
		h.idle = at
	}
	switch {
	case s.Ready > 0:
		h.empty = time.Time{}
	case h.empty.IsZero():
		h.empty = at
	case at.Sub(h.empty) >= Grace: // a consumer that dies of an event holds it for a while
		h.deaths = nil
	}
	switch {
	case s.Ready == 0:
		h.waiting = time.Time{}
	case h.waiting.IsZero() || s.Ready < h.ready:
		h.waiting = at
	}
	h.consumers, h.ready = s.Consumers, s.Ready
}

// Judge remembers looks, and judges by them. It is not safe for concurrent use.
type Judge struct {
	queues map[string]*history
	since  map[string]time.Time // of each thing that is wrong
}

// See judges by one more look.
func (j *Judge) See(look Look) run.Delivery {
	d := run.Delivery{State: run.Flowing, Queues: []run.QueueDelivery{}, At: look.At.UTC()}
	if look.Err != nil {
		d.State, d.Link, d.Text = run.Unknown, run.LinkBroker, look.Err.Error()
		if text := d.Text; errors.Is(look.Err, rabbit.ErrNotFound) {
			d.State, d.Link = run.Severed, run.LinkQueue
			if strings.HasPrefix(text, "exchange ") {
				d.Link = run.LinkExchange
			}
		}
		d.Since = j.lasting(look.At, string(d.Link))
		return d
	}
	if j.queues == nil {
		j.queues = make(map[string]*history)
	}
	names := make([]string, 0, len(look.Queues))
	for _, queue := range rabbit.CartQueues() {
		if j.queues[queue] == nil {
			j.queues[queue] = &history{}
		}
		h := j.queues[queue]
		h.saw(look.At, look.Queues[queue])
		q := h.judge(queue, look)
		d.Queues = append(d.Queues, q)
		if worse(q.State, d.State) {
			d.State, d.Link, d.Queue, d.Text = q.State, q.Link, queue, q.Text
		}
		if q.Link != "" {
			names = append(names, string(q.Link)+queue)
		}
	}
	since := j.lasting(look.At, names...)
	if d.Link != "" {
		d.Since = since
	}
	return d
}

func worse(a, b run.DeliveryState) bool {
	all := run.DeliveryStates()
	return slices.Index(all, a) > slices.Index(all, b)
}

// lasting is since when the first of these things has been so, and forgets all others.
func (j *Judge) lasting(now time.Time, names ...string) (first time.Time) {
	kept := make(map[string]time.Time)
	for _, name := range names {
		if kept[name] = j.since[name]; kept[name].IsZero() {
			kept[name] = now
		}
		if first.IsZero() || kept[name].Before(first) {
			first = kept[name]
		}
	}
	j.since = kept
	return first.UTC()
}

// dies tells whether consumers die of an event that was seen to be unreadable: they have gone
// since, and it may still wait.
func (h *history) dies(queue string, look Look) bool {
	gone := !h.idle.IsZero() || len(h.deaths) > 0
	return look.Poison.Queue == queue && look.At.Sub(look.Poison.At) < memory && h.ready > 0 && gone
}

// judge says how one queue stands.
func (h *history) judge(queue string, look Look) run.QueueDelivery {
	q := run.QueueDelivery{Queue: queue, State: run.Flowing, Ready: h.ready, Consumers: h.consumers, Waiting: h.waiting.UTC(), Idle: h.idle.UTC()}
	if h.waiting.IsZero() {
		q.Waiting = time.Time{}
	}
	if h.idle.IsZero() {
		q.Idle = time.Time{}
	}
	unbound := ""
	if route, known := look.Routes[queue]; known {
		unbound = route.Unbound(queue)
		bound := unbound == ""
		q.Bound = &bound
	}
	events := "1 event"
	if h.ready != 1 {
		events = fmt.Sprintf("%d events", h.ready)
	}
	switch {
	case unbound != "":
		q.State, q.Link, q.Text = run.Severed, run.LinkBinding, unbound
	case h.dies(queue, look):
		q.State, q.Link = run.Severed, run.LinkHead
		q.Text = fmt.Sprintf("%s, which came at %s: remove it from the queue's head", look.Poison.Text, look.Poison.At.UTC().Format(time.RFC3339))
	case len(h.deaths) >= deaths:
		q.State, q.Link = run.Severed, run.LinkHead
		q.Text = fmt.Sprintf("consumers of %s have gone %d times while %s waited: the first event of the queue is probably one that the cart cannot store; see the Cart Service's log, and remove that event", queue, len(h.deaths), events)
	case !h.idle.IsZero():
		q.State, q.Link, q.Text = run.Stalled, run.LinkConsumers, Deserted(queue, h.ready, events+" waiting")
		if look.At.Sub(h.idle) >= Grace {
			q.State = run.Severed
		}
	case !h.waiting.IsZero() && look.At.Sub(h.waiting) >= Grace:
		q.State, q.Link = run.Stalled, run.LinkQueue
		q.Text = fmt.Sprintf("%s waiting in %s become no fewer since %s, although %d consume it: see the Cart Service's log", events, queue, h.waiting.UTC().Format(time.RFC3339), h.consumers)
	}
	return q
}
